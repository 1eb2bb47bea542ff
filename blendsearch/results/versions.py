"""Which versions made a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from blendsearch.version import __version__

PACKAGES = ("torch", "torchvision", "torch-pruning", "deap", "optuna", "scikit-learn", "numpy", "scipy", "joblib")


def versions() -> dict[str, str]:
    """Return package -> version, for those installed."""
    found = {"blendsearch": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
