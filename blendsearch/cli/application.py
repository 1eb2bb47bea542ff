"""The application with all its commands."""

from __future__ import annotations

from blendsearch.cli import (  # noqa: F401  (they add their commands to the app)
    review_commands,
    schema_command,
    shipping_commands,
    space_commands,
)
from blendsearch.cli.commands import app

__all__ = ["app"]
