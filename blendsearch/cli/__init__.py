"""The command line: the only room that prints. `main` is the entry point of the command `blendsearch`."""

from __future__ import annotations

from blendsearch.cli.commands import app, main

__all__ = ["app", "main"]
