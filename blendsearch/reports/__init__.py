"""The story of a campaign on one page, made from the files of its run folder alone."""

from blendsearch.reports.page import build_report

__all__ = ["build_report"]
