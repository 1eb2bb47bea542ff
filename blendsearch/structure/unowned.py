"""The cost of what multiplies without a module's plain weight: how it grows with the kept counts, found by trying.

`F.conv2d` with computed or free-standing weights, blur pooling, matrix products of attention: which sizes of such a
call follow which group shows when that group is halved. The networks that are tried hold no numbers (the meta device),
so a try costs what its Python costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from blendsearch.structure.copying import copy_with
from blendsearch.structure.example import FAILURES, Example
from blendsearch.structure.groups import Group
from blendsearch.structure.kept import channels_under
from blendsearch.structure.operators import Operator, OperatorCounter, composed_attention
from blendsearch.structure.plan import Plan
from blendsearch.structure.polynomial import Channels, Term
from blendsearch.structure.slicing import sliced_copy


def unowned_terms(network: nn.Module, example: Example, groups: Sequence[Group]) -> list[Term]:
    """Return the multiply-accumulates of one sample of every call that no module's plain weight accounts for."""
    one = example.take(1)
    empty = copy_with(network, lambda path, name, tensor, module: tensor.to("meta"))
    try:
        return _Trials(empty, one.map(lambda tensor: tensor.to("meta")), groups).terms()
    except FAILURES:  # its forward pass looks at numbers
        return _Trials(network, one, groups).terms()


class _Trials:
    """Runs a network whole and with halved groups, and compares the sizes of the calls that no weight owns."""

    def __init__(self, network: nn.Module, example: Example, groups: Sequence[Group]) -> None:
        self.network, self.example, self.groups = network, example, groups
        self.whole = self._calls(network)

    def terms(self) -> list[Term]:
        """Return one term for each call."""
        halved = self._halved(self.groups)
        varies = any(one.sizes != small.sizes for one, small in zip(self.whole, halved, strict=True))
        tries = {group.name: self._halved([group]) for group in self.groups} if varies else {}
        return [
            Term(
                1,
                tuple(
                    self._channels(size, {n: size - t[call].sizes[place] for n, t in tries.items()})
                    for place, size in enumerate(one.sizes)
                ),
            )
            for call, one in enumerate(self.whole)
        ]

    def _channels(self, size: int, lost: Mapping[str, int]) -> Channels:
        """Return how a size depends on the kept counts; lost: what it loses when a group loses every other filter."""
        widths = {group.name: group.width for group in self.groups if lost.get(group.name)}
        multiples = tuple((name, round(lost[name] / (width // 2))) for name, width in widths.items())
        return Channels(size - sum(multiple * widths[name] for name, multiple in multiples), multiples)

    def _halved(self, groups: Sequence[Group]) -> list[Operator]:
        widths = {group.name: group.width for group in groups}
        plan = Plan({name: tuple(range(0, width, 2)) for name, width in widths.items()}, widths)
        return self._calls(sliced_copy(self.network, *channels_under(self.network, groups, plan)))

    def _calls(self, network: nn.Module) -> list[Operator]:
        with torch.no_grad(), OperatorCounter(network) as counter, composed_attention():
            self.example.outputs(network)
        return [one for one in counter.found if not one.weight]
