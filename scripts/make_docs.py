"""Writes docs/criteria.md from the registry of criteria.

Usage: .venv/bin/python scripts/make_docs.py
"""

from __future__ import annotations

import inspect
from pathlib import Path

from blendsearch.criteria import CRITERIA
from blendsearch.criteria.base import FAMILIES

PAGE = Path(__file__).parent.parent / "docs" / "criteria.md"
HEAD = """# Criteria

Written by `scripts/make_docs.py` from the registry; change the classes in `blendsearch/criteria/`, not this page.

A criterion gives every filter of a group a score, higher = more important. It reads statistics that one
forward-backward pass over the calibration images gathers for all; what it `needs` says which. Convolutions or feature
maps that are coupled, as in a residual stream, are scored one by one and combined by `group_rule`: `mean_rank` (the
mean of their ranks, default), `sum` or `max`.
"""


def page() -> str:
    """Return the page's text."""
    criteria = [CRITERIA.get(name) for name in CRITERIA.names()]
    parts = [HEAD]
    for family in (*FAMILIES, "none"):
        own = [criterion for criterion in criteria if criterion().family == family]
        if own:
            parts.append(f"## {'no statistics' if family == 'none' else family}\n")
        for criterion in own:
            needs = ", ".join(f"`{need}`" for need in criterion.needs) or "nothing"
            dead = "yes" if criterion.detects_dead else "no"
            parts.append(
                f"### `{criterion.name}`\n\n{inspect.cleandoc(criterion.__doc__ or '')}\n\n"
                f"- needs: {needs}\n- never ranks a dead filter above the median: {dead}\n"
                f"- source: {criterion.source}\n"
            )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
