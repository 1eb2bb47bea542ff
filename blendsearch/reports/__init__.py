"""The story of a run on one page, made from the files of its run folder alone."""

from blendsearch.reports.pages.audit import build_audit_report
from blendsearch.reports.pages.compare import build_compare_page
from blendsearch.reports.pages.curves import build_curves_report
from blendsearch.reports.pages.leaderboard import build_leaderboard_report
from blendsearch.reports.pages.search import build_report
from blendsearch.reports.pages.transfer import build_transfer_report

__all__ = [
    "build_audit_report",
    "build_compare_page",
    "build_curves_report",
    "build_leaderboard_report",
    "build_report",
    "build_transfer_report",
]
