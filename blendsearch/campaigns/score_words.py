"""Scores in a few lines: as text, and for a notebook."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html import escape

from torch import Tensor

from blendsearch.results.words import plural

MOST_ROWS = 12

Table = Mapping[str, Mapping[str, Tensor]]
Words = Mapping[str, Mapping[str, str]]


def as_text(scores: Table, scales: Words, left_out: Mapping[str, str], samples: int | None) -> str:
    """Return how many there are, what the first criteria's numbers are, and which criteria were left out."""
    lines = [f"Scores: {_count(scores, samples)}"]
    lines += [f"  {name}: {_scales(scales[name])}" for name in list(scores)[:MOST_ROWS]]
    lines += [f"  {line}" for line in _rest(scores)]
    lines += [f"  left out: {', '.join(left_out)}"] if left_out else []
    return "\n".join(lines)


def as_html(scores: Table, scales: Words, left_out: Mapping[str, str], samples: int | None) -> str:
    """Return the same as a table, with the reasons of the criteria that were left out to unfold."""
    rows = "".join(
        f"<tr><td style='text-align:left'>{escape(name)}</td>"
        f"<td style='text-align:left'>{escape(_scales(scales[name]))}</td></tr>"
        for name in list(scores)[:MOST_ROWS]
    )
    head = "<tr><th style='text-align:left'>criterion</th><th style='text-align:left'>its numbers</th></tr>"
    reasons = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in left_out.items())
    unfold = f"<summary>{len(left_out)} left out</summary><ul>{reasons}</ul>"
    return (
        f"<p><b>Scores</b>: {escape(_count(scores, samples))}</p>"
        f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
        + "".join(f"<p>{escape(line)}</p>" for line in _rest(scores))
        + (f"<details>{unfold}</details>" if left_out else "")
    )


def _count(scores: Table, samples: int | None) -> str:
    groups = next(iter(scores.values()), {})
    filters = sum(len(values) for values in groups.values())
    seen = [plural(samples, "sample")] if samples else []
    criteria = f"{len(scores)} {'criterion' if len(scores) == 1 else 'criteria'}"
    return ", ".join([criteria, plural(len(groups), "group"), plural(filters, "filter"), *seen])


def _scales(of_groups: Mapping[str, str]) -> str:
    """Return which scales the groups have, each with how many have it where there are several."""
    found = Counter(re.sub(r"\bof \d+ ", "of several ", scale) for scale in of_groups.values())
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{scale} ({plural(number, 'group')})" for scale, number in found.items())


def _rest(scores: Table) -> list[str]:
    rest = list(scores)[MOST_ROWS:]
    return [f"and {len(rest)} more: {', '.join(rest)}"] if rest else []
