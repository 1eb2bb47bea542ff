"""Files of a run folder, read and checked: RunError says in one line which file, where in it, and what was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from blendsearch.errors import RunError

S = TypeVar("S", bound=BaseModel)


def read_finished(
    folder: Path, kind: type[S], name: str = "summary.json", settings: str = "space.yaml"
) -> tuple[S, dict[str, Any], str]:
    """Return the record of a finished run, and its settings as mapping and text; RunError for what is amiss."""
    if not folder.is_dir():
        raise RunError(f"{folder}: there is no such run folder")
    text = read_text(folder, settings)
    return parse(folder / name, read_text(folder, name), kind), read_yaml(folder / settings, text), text


def read_text(folder: Path, name: str) -> str:
    """Return the text of a file that every finished run has; RunError when it is missing or cannot be read."""
    path = folder / name
    if not path.is_file():
        raise RunError(
            f"{folder}: {name} is missing, so the campaign has not finished; continue it with --resume, then report"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error


def read_yaml(path: Path, text: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds; RunError names the file."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RunError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a mapping of keys, got {type(content).__name__}")
    return content


def parse(path: Path, text: str, kind: Any) -> Any:
    """Return a JSON text as an object of `kind`; RunError names file, place and what was given."""
    try:
        return TypeAdapter(kind).validate_python(json.loads(text))
    except json.JSONDecodeError as error:
        raise RunError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except ValidationError as error:
        raise RunError(f"{path}: {first_mistake(error)}") from error


def first_mistake(error: ValidationError) -> str:
    """Return the place of the first thing that is wrong, what is wrong with it, and what was given."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "top level"
    return f"{place}: {first['msg'].lower()} (given {first['input']!r:.60})"
