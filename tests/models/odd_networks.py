"""Networks that users wrote, and wrote wrongly."""

from __future__ import annotations

import sys

import torch
from torch import nn


class Odd(Exception):
    """What no library raises."""


class Sound(nn.Module):
    """One that is as it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.more, self.head = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(8, 10)

    def logits(self, x):
        return self.head(self.more(self.conv(x).relu()).relu().mean((2, 3)))

    def forward(self, x):
        return self.logits(x)


class RaisesForward(Sound):
    def forward(self, x):
        raise Odd("I am\nbroken")


class RaisesInEval(Sound):
    def forward(self, x):
        if not self.training:
            raise Odd("no eval")
        return self.logits(x)


class RaisesInTraining(Sound):
    def forward(self, x):
        if self.training:
            raise Odd("no train")
        return self.logits(x)


class RaisesInOtherBatches(Sound):
    def forward(self, x):
        if len(x) != 2:
            raise Odd("two alone")
        return self.logits(x)


class GivesTuple(Sound):
    def forward(self, x):
        return self.logits(x), x


class GivesDict(Sound):
    def forward(self, x):
        return {"logits": self.logits(x)}


class GivesNothing(Sound):
    def forward(self, x):
        self.logits(x)


class GivesFew(Sound):
    def forward(self, x):
        return self.logits(x)[:, :3]


class Exits(Sound):
    def forward(self, x):
        sys.exit(3)


class EvalGivesNothing(Sound):
    def eval(self):
        return None


class EvalRaises(Sound):
    def eval(self):
        raise Odd("eval")


class NoCopies(Sound):
    def __deepcopy__(self, memo):
        raise Odd("no copy")


class NeedsArguments(Sound):
    def __init__(self, depth, width) -> None:
        super().__init__()


class RaisesWhenMade(Sound):
    def __init__(self) -> None:
        raise Odd("init")


class NotMade(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(1, 2, 3)


def nothing():
    return None


def ends():
    sys.exit(4)


NUMBERS = torch.zeros(3)
