"""The search: genomes, backends that propose them, and the ledger of every trial.

The module itself can be called: `blendsearch.search(space)` runs a whole campaign, see
`blendsearch.campaigns.interface.search`. Package and function share the name, so the module is the function.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any


class _CallableModule(types.ModuleType):
    """A module that is also the function `search` of the floor above, which it looks up when called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run a search campaign."""
        return importlib.import_module("blendsearch.campaigns.interface").search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
