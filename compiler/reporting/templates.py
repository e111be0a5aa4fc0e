"""Templates: the pages that lie beside this file, ready to be filled in."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from compressc.reporting.page_colours import PAGE_COLOURS, PLOTS
from compressc.runtime.plain_text import printable


@cache
def load_template(name: str) -> Template:
    """Return a template of this folder; everything filled in is escaped, nothing may be missing."""
    environment = Environment(
        loader=PackageLoader("compressc.reporting", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["colours"] = Markup(PAGE_COLOURS)
    environment.globals["plots"] = Markup(PLOTS)
    return environment.get_template(name)


def _finalize(value: object) -> object:
    """Return what is filled in, without characters that steer a terminal where a page is read."""
    # Markup of ours is text as well.
    return type(value)(printable(value)) if isinstance(value, str) else value
