"""Report files: a report as a page or as JSON, as the name of the file says."""

from __future__ import annotations

from pathlib import Path

from compressc.reporting.page import render_page
from compressc.reporting.report import Report
from compressc.reporting.report_name import PAGES, check_report_name
from compressc.writing import write_text


def write_report(path: str | Path, report: Report) -> None:
    """Write a report as ``.html`` or ``.json``.

    Raises:
        OutputError: if the name ends otherwise, or the file cannot be written.
    """
    check_report_name(path)
    is_page = Path(path).suffix.lower() in PAGES
    write_text(path, render_page(report) if is_page else report.to_json())
