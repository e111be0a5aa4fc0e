"""What a search says when it finds nothing that will do."""

from compressc.errors import CompresscError


class SearchError(CompresscError):
    """A search spent its budget and found no candidate that is good enough."""

    exit_code = 4
