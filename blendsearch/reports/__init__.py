"""The story of a run on one page, made from the files of its run folder alone."""

from blendsearch.reports.audit_page import build_audit_report
from blendsearch.reports.board_page import build_leaderboard_report
from blendsearch.reports.compare_page import build_compare_page
from blendsearch.reports.curve_page import build_curves_report
from blendsearch.reports.page import build_report
from blendsearch.reports.transfer_page import build_transfer_report

__all__ = [
    "build_audit_report",
    "build_compare_page",
    "build_curves_report",
    "build_leaderboard_report",
    "build_report",
    "build_transfer_report",
]
