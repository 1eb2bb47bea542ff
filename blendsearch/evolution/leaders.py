"""The best plans that a search has read on all search images: what the next candidates race against."""

from __future__ import annotations

import base64
from typing import NamedTuple

import numpy as np

from blendsearch.plain import State
from blendsearch.proxies.racing import Racing


class Rival(NamedTuple):
    """A plan against which others are raced, and its scores image by image, float32 [N]."""

    plan: str
    scores: np.ndarray


class Leaders:
    """The `size` best plans so far, each with its scores image by image, float32 [N]; racing: how others are raced."""

    def __init__(self, size: int, racing: Racing) -> None:
        self.size, self.racing = size, racing
        self.best: list[tuple[float, str, np.ndarray]] = []

    @property
    def rival(self) -> Rival | None:
        """The last of them, whom a candidate must not be clearly worse than; None while there are fewer."""
        return Rival(*self.best[-1][1:]) if len(self.best) == self.size else None

    def has_room_for(self, value: float) -> bool:
        """Return whether a new plan of this value is one of them."""
        return len(self.best) < self.size or value > self.best[-1][0]

    def scores(self, plan: str) -> np.ndarray | None:
        """Return the scores of the plan of that digest, if it is one of them."""
        return next((scores for _, digest, scores in self.best if digest == plan), None)

    def enter(self, digest: str, value: float, scores: np.ndarray) -> None:
        """Take in a plan; of equal ones, that which was there first is better."""
        others = [one for one in self.best if one[1] != digest]
        self.best = sorted([*others, (value, digest, scores)], key=lambda one: -one[0])[: self.size]

    def state_dict(self) -> State:
        """Return the leaders as plain JSON."""
        return {
            digest: [value, base64.b64encode(scores.astype("<f4").tobytes()).decode()]
            for value, digest, scores in self.best
        }

    def load_state_dict(self, state: State) -> None:
        """Take up what `state_dict` returned."""
        self.best = [
            (float(value), digest, np.frombuffer(base64.b64decode(scores), "<f4"))
            for digest, (value, scores) in state.items()
        ]
