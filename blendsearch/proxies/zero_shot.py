"""Accuracy as sliced."""

from __future__ import annotations

from blendsearch.proxies.base import Proxy, register_proxy


@register_proxy
class ZeroShot(Proxy):
    """Accuracy on the search split right after slicing, nothing adapted."""

    name = "zero_shot"
    source = "the pruned network as it is"
    raced = True
    adapts_forward = True
