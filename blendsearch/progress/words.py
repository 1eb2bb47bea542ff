"""Rates and times of tasks in a few letters."""

from __future__ import annotations


def rate_text(rate: float) -> str:
    """Write steps a second as '12/s', '1.2/s' or '3.5 s each'; '' for 0."""
    if rate <= 0:
        return ""
    if rate < 1:
        return f"{1 / rate:.1f} s each"
    return f"{rate:.1f}/s" if rate < 10 else f"{rate:.0f}/s"


def clock(seconds: float) -> str:
    """Write seconds as '0:05', '12:30' or '1:02:03'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
