"""How far several raters agree beyond chance."""

from __future__ import annotations

from collections.abc import Sequence


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Return Fleiss' kappa: 1 for full agreement, 0 for that of chance, below 0 for less.

    counts: one row a subject, how many raters put it into each category; every row has the same sum, at least 2.
    None where it is not defined: without a subject, or when only one category was ever used.
    Source: Fleiss, Psychological Bulletin 76(5), 1971, eq. 1 to 7.
    """
    if not counts:
        return None
    subjects, raters = len(counts), sum(counts[0])
    observed = sum(n * (n - 1) for row in counts for n in row) / (subjects * raters * (raters - 1))
    shares = [sum(column) / (subjects * raters) for column in zip(*counts, strict=True)]
    expected = sum(share * share for share in shares)
    if expected == 1:
        return None
    return (observed - expected) / (1 - expected)
