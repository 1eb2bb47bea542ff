"""What a group's score was made of, and on which scale it is therefore: a norm, or a mean of ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

CONVOLUTION = "convolution"
FEATURE_MAP = "feature map"
BATCH_NORM = "batch norm"

WORDS = {
    "mean_rank": "mean rank of {parts}, 0 to 1",
    "mean": "mean {name} of {parts}",
    "sum": "sum of {name} of {parts}",
    "max": "largest {name} of {parts}",
}
"""Group rule -> what the score of several parts is."""


@dataclass(frozen=True)
class Parts:
    """What a group's score was made of: its convolutions, or their feature maps or batch norms, each by itself.

    kind: of CONVOLUTION, FEATURE_MAP and BATCH_NORM. scores: convolution -> [C]; one of them is the group's score, of
    several the group rule makes it.
    """

    kind: str
    scores: Mapping[str, Tensor]


def distinct(names: Iterable[str]) -> list[str]:
    """Return names of which none comes twice: the second 'conv1' is 'conv1 (2)'."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def scale_of(name: str, parts: Parts | None, rule: str) -> str:
    """Return which scale a criterion's score of a group has, such as "mean rank of 4 convolutions, 0 to 1".

    parts: None where the group is scored as a whole.
    """
    if parts is None:
        return f"{name} of the whole group"
    if len(parts.scores) == 1:
        return f"{name} of its one {parts.kind}"
    return WORDS[rule].format(name=name, parts=f"{len(parts.scores)} {parts.kind}s")
