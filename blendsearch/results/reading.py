"""Files of a run folder, read and checked: RunError says in one line which file, where in it, and what was given."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from blendsearch.config.yaml_text import YamlSyntaxError
from blendsearch.config.yaml_text import read_yaml as read_document
from blendsearch.errors import BlendsearchError, RunError, first_line, quoted
from blendsearch.files import parsed_json
from blendsearch.plain import State

S = TypeVar("S", bound=BaseModel)
SETTINGS = ("job.json", "space.json", "board.json")
"""Files by which a folder is known as that of a run."""
MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What is raised where plain data of another form are taken up."""


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
        if not any((folder / settings).is_file() for settings in SETTINGS):
            raise not_a_run(folder, name)
        raise RunError(
            f"{folder}: {name} is missing, so the campaign has not finished; continue it with --resume, then report"
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error


def not_a_run(folder: Path, name: str) -> RunError:
    """Return the error of a folder that lacks a file which every run has."""
    return RunError(f"{folder}: no {name}; is this a run folder of blendsearch?")


def read_yaml(path: Path, text: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds; RunError names the file."""
    try:
        document = read_document(text)
    except YamlSyntaxError as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise RunError(f"{place}: not valid YAML ({error.problem})") from error
    for keys, line, what in document.bad_keys:
        raise RunError(f"{path}:{line}: {'.'.join(map(str, keys)) or 'top level'}: {what}")
    return checked_mapping(path, document.data)


def checked_mapping(path: Path, data: Any) -> State:
    """Return data as a mapping of keys; RunError names the file where it is something else."""
    if not isinstance(data, dict):
        raise RunError(f"{path}: top level: {quoted(data)} given, a mapping of keys expected")
    return data


def parse(path: Path, text: str, kind: Any) -> Any:
    """Return a JSON text as an object of `kind`; RunError names file, place and what was given."""
    try:
        return TypeAdapter(kind).validate_python(parsed_json(text))
    except json.JSONDecodeError as error:
        raise RunError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except ValidationError as error:
        raise RunError(f"{path}: {first_mistake(error)}") from error
    except ValueError as error:  # nested too deeply, a number of thousands of digits
        raise RunError(f"{path}: not valid JSON ({first_line(error)})") from error


def first_mistake(error: ValidationError) -> str:
    """Return the place of the first thing that is wrong, what is wrong with it, and what was given."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "top level"
    return f"{place}: {first['msg'].lower()} (given {quoted(first['input']):.60})"


@contextlib.contextmanager
def taken_from(path: Path) -> Iterator[None]:
    """Name a file in every error that its content causes in the block, whatever takes the content up.

    For states and plans, whose form the parts that take them up know alone. The block does nothing else.
    """
    try:
        yield
    except BlendsearchError as error:
        more = len(error.args) - 1
        raise type(error)(
            f"{path}: {first_line(error)}" + (f" (and {more} more mistakes)" if more > 0 else "")
        ) from error
    except KeyError as error:
        raise RunError(f"{path}: key {error} is missing") from error
    except MISFITS as error:
        raise RunError(f"{path}: does not hold what is needed ({type(error).__name__}: {first_line(error)})") from error
