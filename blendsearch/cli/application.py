"""The application with all its commands."""

from __future__ import annotations

from blendsearch.cli import review_commands, space_commands  # noqa: F401  (they add their commands to the app)
from blendsearch.cli.commands import app

__all__ = ["app"]
