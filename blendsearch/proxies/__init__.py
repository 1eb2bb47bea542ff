"""Cheap estimates of the accuracy after retraining."""

from blendsearch.proxies import (  # noqa: F401  (registration)
    agreement,
    average,
    bn_recalibrated,
    compensated,
    compensated_finetune,
    short_finetune,
    zero_shot,
)
from blendsearch.proxies.base import PROXIES, Estimate, Proxy, ProxyContext, register_proxy

__all__ = ["PROXIES", "ProxyContext", "Estimate", "Proxy", "register_proxy"]
