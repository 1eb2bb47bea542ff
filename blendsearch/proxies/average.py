"""The mean of several proxies."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import nn

from blendsearch.errors import ConfigError, quoted, unknown_name
from blendsearch.proxies.base import PROXIES, Estimate, Proxy, ProxyContext, register_proxy
from blendsearch.proxies.passes import counted
from blendsearch.structure import Plan


@register_proxy
class Average(Proxy):
    """Estimates each candidate by several proxies and returns the mean: their errors cancel in part.

    proxies: names, or mappings of a name and its options, as in a space file. Costs as much as all of them, but that
    a candidate is refitted once for all who refit it alike. No search_images here: each of the proxies has its own.
    """

    name = "average"
    source = "the mean of estimates, as in ensembles (Breiman, Bagging predictors, Machine Learning 1996)"

    def __init__(self, proxies: Sequence[str | Mapping[str, Any]] = ("compensated", "agreement")) -> None:
        super().__init__()
        if not isinstance(proxies, Sequence) or isinstance(proxies, str) or len(proxies) < 2:
            raise ConfigError(f"proxy.proxies: {quoted(proxies)} given, a list of at least two proxies expected")
        self.proxies = [_made(entry) for entry in proxies]
        for position, proxy in enumerate(self.proxies):
            if any(proxy.same_as(other) for other in self.proxies[:position]):
                raise ConfigError(f"proxy.proxies: '{proxy.name}' with the same options is named twice; leave one out")
        self.alike = _alike(self.proxies)

    def made_of(self) -> list[Proxy]:
        return [part for proxy in self.proxies for part in proxy.made_of()]

    def same_as(self, other: Proxy) -> bool:
        if not isinstance(other, Average) or len(self.proxies) != len(other.proxies):
            return False
        return all(any(own.same_as(one) for one in other.proxies) for own in self.proxies)

    def prepare(self, context: ProxyContext) -> None:
        super().prepare(context)
        for proxy in self.proxies:
            proxy.prepare(context)

    def estimate(self, network: nn.Module, plan: Plan) -> Estimate:
        start = time.perf_counter()
        values, passes = [], 0
        for first, *others in self.alike:
            adapted = self.context.compute.place(copy.deepcopy(network))  # each kind uses its network up
            found = first.estimate(adapted, plan)
            with counted(adapted) as more:
                values += [found.value, *(proxy.read(adapted, plan) for proxy in others)]
            passes += found.passes + more()
        return Estimate(fmean(values), time.perf_counter() - start, passes)


def _alike(proxies: Sequence[Proxy]) -> list[list[Proxy]]:
    """Return the proxies in groups that adapt a candidate's network alike, in the order of their first ones."""
    groups: list[list[Proxy]] = []
    for proxy in proxies:
        group = next((group for group in groups if group[0].adapts_like(proxy)), None)
        if group is None:
            groups.append([proxy])
        else:
            group.append(proxy)
    return groups


def _made(entry: object) -> Proxy:
    """Make one of the proxies from a name or a mapping; raises ConfigError for anything else."""
    options = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"proxy.proxies: {quoted(entry)} given, a name or a mapping with name and its options expected"
        )
    if name not in PROXIES.names():
        raise unknown_name("proxy", name, PROXIES.names(), "proxy.proxies")
    factory: Any = PROXIES.get(name)
    try:
        made: Proxy = factory(**options)
    except TypeError as error:
        raise ConfigError(f"proxy.proxies: '{name}': {error}") from None
    return made
