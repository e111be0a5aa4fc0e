"""Names of report files: the ending says the form."""

from __future__ import annotations

from pathlib import Path

from compressc.errors import OutputError

PAGES = (".html", ".htm")


def check_report_name(path: str | Path) -> None:
    """Refuse a report file whose name does not say its form.

    Raises:
        OutputError: if the name ends neither in .html nor in .json.
    """
    if Path(path).suffix.lower() not in (*PAGES, ".json"):
        raise OutputError(f"{path}: a report is .html or .json; name it so")
