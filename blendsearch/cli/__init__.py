"""The command line: the only room that prints. `main` is the entry point of the command `blendsearch`."""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    """Run the command line of this process; Ctrl-C is one line already while it is loading."""
    try:
        from blendsearch.cli.application import app
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    app(prog_name="blendsearch")


def __getattr__(name: str) -> Any:
    if name == "app":
        from blendsearch.cli.application import app

        return app
    raise AttributeError(f"module 'blendsearch.cli' has no attribute '{name}'")
