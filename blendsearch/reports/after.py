"""How what is read after pruning is called: with retraining.epochs 0 nothing was retrained, and no page may say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blendsearch.plain import Unchecked


@dataclass(frozen=True)
class After:
    """Words for what became of pruned networks.

    equal: "after equal retraining"; when: "after retraining"; done: "retrained"; one, several: what each network is.
    """

    retrained: bool
    equal: str
    when: str
    done: str
    one: str
    several: str


RETRAINED = After(True, "after equal retraining", "after retraining", "retrained", "retraining", "retrainings")
PRUNED_ONLY = After(False, "without retraining", "without retraining", "pruned", "pruned network", "pruned networks")


def after_pruning(settings: Unchecked) -> After:
    """Return the words for a space or board, which retrains where it does not say that it does not."""
    retraining = settings.get("retraining")
    epochs = retraining.get("epochs") if isinstance(retraining, Mapping) else None
    return PRUNED_ONLY if epochs == 0 else RETRAINED


def after_steps(steps: float | None) -> After:
    """Return the words for a network that took so many optimiser steps after pruning; None of older records."""
    return PRUNED_ONLY if steps == 0 else RETRAINED


def title(words: str) -> str:
    """Return words as a heading or a sentence begins."""
    return words[0].upper() + words[1:]
