"""The command that prints what files may hold, for editors."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from blendsearch.cli.commands import app
from blendsearch.cli.session import plain_errors
from blendsearch.errors import unknown_name

FILES = ("space", "board")


@app.command(epilog="Example: blendsearch schema > space.schema.json")
def schema(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=f"Of which files: {' or '.join(FILES)}; default space.")
    ] = "space",
) -> None:
    """Print the JSON Schema of space or board files, by which editors complete and check keys."""
    with plain_errors():
        if kind not in FILES:
            raise unknown_name("kind", kind, FILES)
        from blendsearch.config import json_schema

        print(json.dumps(json_schema(kind), indent=2))
