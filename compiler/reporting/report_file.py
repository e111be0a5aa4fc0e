"""Report files: a report as a page or as JSON, as the name of the file says."""

from __future__ import annotations

from pathlib import Path

from compressc.errors import OutputError
from compressc.reporting.page import render_page
from compressc.reporting.report import Report
from compressc.writing import write_text

_PAGES = (".html", ".htm")


def write_report(path: str | Path, report: Report) -> None:
    """Write a report as ``.html`` or ``.json``.

    Raises:
        OutputError: if the name ends otherwise, or the file cannot be written.
    """
    check_report_name(path)
    is_page = Path(path).suffix.lower() in _PAGES
    write_text(path, render_page(report) if is_page else report.to_json())


def check_report_name(path: str | Path) -> None:
    """Refuse a report file whose name does not say its form.

    Raises:
        OutputError: if the name ends neither in .html nor in .json.
    """
    if Path(path).suffix.lower() not in (*_PAGES, ".json"):
        raise OutputError(f"{path}: a report is .html or .json; name it so")
