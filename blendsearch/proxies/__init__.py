"""Cheap estimates of the accuracy after retraining."""

from blendsearch.proxies import bn_recalibrated, compensated, short_finetune, zero_shot  # noqa: F401  (registration)
from blendsearch.proxies.base import PROXIES, Bench, Estimate, Proxy, register_proxy

__all__ = ["PROXIES", "Bench", "Estimate", "Proxy", "register_proxy"]
