"""The application with all its commands."""

from __future__ import annotations

from blendsearch.cli import review_commands  # noqa: F401  (adds its commands to the app)
from blendsearch.cli.commands import app

__all__ = ["app"]
