"""The command line: the only room that prints. `main` is the entry point of the command `blendsearch`."""

from __future__ import annotations

from blendsearch.cli import review_commands  # noqa: F401  (adds its commands to the app)
from blendsearch.cli.commands import app, main

__all__ = ["app", "main"]
