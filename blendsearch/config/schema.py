"""What space and board files may hold, as JSON Schema for editors."""

from __future__ import annotations

from typing import Any

from blendsearch.config.board import Board
from blendsearch.config.sections.types import Section
from blendsearch.config.space import Space

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILES: dict[str, type[Section]] = {"space": Space, "board": Board}


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of "space" or "board" files, with defaults and meanings.

    It allows what has the right types and limits; rules between several keys and registered names are for `validate`.
    """
    return {"$schema": DIALECT, **FILES[kind].model_json_schema()}
