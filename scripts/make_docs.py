"""Writes the pages of docs/ that are made from the code: criteria, names, commands, keys of space and board files.

Usage: .venv/bin/python scripts/make_docs.py
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
import yaml
from pydantic.fields import FieldInfo

from blendsearch.cli.application import app
from blendsearch.config import Board, NamedSection, Space
from blendsearch.config.meanings import explain, key_meanings
from blendsearch.config.mistakes import describe
from blendsearch.config.sections.types import Section
from blendsearch.criteria import CRITERIA
from blendsearch.criteria.base import FAMILIES
from blendsearch.validation.catalogue import REGISTRIES, catalogue

DOCS = Path(__file__).parent.parent / "docs"

CRITERIA_HEAD = """# Criteria

Written by `scripts/make_docs.py` from the registry; change the classes in `blendsearch/criteria/`, not this page.

A criterion gives every filter of a group a score, higher = more important. It reads statistics that shared passes over
the calibration images gather for all; what it `needs` says which. Convolutions or feature maps that are coupled, as in
a residual stream, are scored one by one and combined by `group_rule`: `mean_rank` (the mean of their ranks, default),
`mean`, `sum` or `max`.
"""
NAMES_HEAD = """# Names in a space file

Written by `scripts/make_docs.py` from the registries, as `blendsearch list` shows them. Where something has options, a
space file may have a mapping in the place of the name: `proxy: {name: agreement, images: 256}`. Criteria have
[a page of their own](../criteria.md).
"""
COMMANDS_HEAD = """# Commands

Written by `scripts/make_docs.py` from the command line itself; `blendsearch COMMAND --help` says the same.
`python -m blendsearch` is the same command. Wrong input is told in one line and ends with exit code 2, a stop by Ctrl-C
with 130 and the command that continues.
"""
SPACE_HEAD = """# Keys of a space file

Written by `scripts/make_docs.py` from the classes in `blendsearch/config/`; change their docstrings, not this page.

A space file is YAML: one mapping of the keys below. Each is told with what it may hold and its default. Any key can be
set for one run at the end of a command, `search.population=12 data.augmentation.flip=true`, and
`blendsearch validate SPACE.yaml` checks a file and shows it with all defaults. `blendsearch schema` prints the same as
JSON Schema, by which editors complete and check: see [Installing](../installing.md#an-editor-that-knows-the-keys).
"""
BOARD_HEAD = """# Keys of a board file

Written by `scripts/make_docs.py` from the classes in `blendsearch/config/`; change their docstrings, not this page.

A board file is what `blendsearch leaderboard` runs: every criterion and blend x allocation x budget x schedule x seed,
on every network. Sections that a space file has too are told [there](space-file.md). `blendsearch schema board` prints
the same as JSON Schema.
"""


def criteria_page() -> str:
    """Return the page of all criteria by family."""
    criteria = [CRITERIA.get(name) for name in CRITERIA.names()]
    parts = [CRITERIA_HEAD]
    for family in (*FAMILIES, "none"):
        own = [criterion for criterion in criteria if criterion().family == family]
        if own:
            parts.append(f"## {'no statistics' if family == 'none' else family}\n")
        for criterion in own:
            needs = ", ".join(f"`{need}`" for need in criterion.needs) or "nothing"
            dead = "yes" if criterion.detects_dead else "no"
            parts.append(
                f"### `{criterion.name}`\n\n{inspect.cleandoc(criterion.__doc__ or '')}\n\n"
                f"- needs: {needs}\n- never ranks a dead filter above the median: {dead}\n"
                f"- source: {criterion.source}\n"
            )
    return "\n".join(parts)


def names_page() -> str:
    """Return the page of what can be named: allocations, proxies, schedules, algorithms, models, data sets."""
    parts = [NAMES_HEAD]
    for kind in REGISTRIES:
        if kind == "criteria":
            continue
        parts.append(f"## {kind}\n")
        for row in catalogue(kind):
            parts.append(f"- `{row['name']}`: {row['description']}")
            notes = {"backend": row.get("backend"), "options": _options(row), "source": row.get("source")}
            parts += [f"    - {note}: {text}" for note, text in notes.items() if text]
        parts.append("")
    return "\n".join(parts)


def _options(row: dict[str, str]) -> str | None:
    listed = row.get("options", "none")
    return None if listed == "none" else ", ".join(f"`{one}`" for one in re.split(r", (?=\w+=)", listed))


def commands_page() -> str:
    """Return the page of all commands with their arguments and options."""
    parts = [COMMANDS_HEAD]
    for name, command in sorted(typer.main.get_command(app).commands.items()):  # type: ignore[attr-defined]
        if command.hidden:
            continue
        given = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
        usage = " ".join(["blendsearch", name, *map(_usage, given), *map(_usage, filter(_required, options))])
        parts.append(f"## {name}\n\n{command.help.strip()}\n\n`{usage}`\n")
        parts += [f"- `{one.metavar}`: {one.help}" for one in given if one.help]
        parts += [f"- {_flags(one)}: {one.help}{_default(one)}" for one in options]
        parts.append(f"\n{_code_of_example(command.epilog)}\n" if command.epilog else "")
    return "\n".join(parts)


def _required(parameter: Any) -> bool:
    return bool(parameter.required)


def _usage(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return f"{parameter.opts[0]} {parameter.metavar}"
    several = parameter.nargs == -1 and "..." not in parameter.metavar
    return f"{parameter.metavar}{'...' if several else ''}" if parameter.required else f"[{parameter.metavar}...]"


def _flags(option: Any) -> str:
    value = f" {option.metavar}" if option.metavar else ""
    return ", ".join(f"`{flag}{value}`" for flag in option.opts)


def _default(option: Any) -> str:
    if option.required:
        return " Required."
    return f" Default `{option.default}`." if option.metavar and option.default is not None else ""


def _code_of_example(epilog: str) -> str:
    word, _, command = epilog.partition(": ")
    return f"{word}: `{command}`"


def space_page() -> str:
    """Return the page of the keys of a space file, a section a heading."""
    return "\n".join([SPACE_HEAD, *_headed(Space, lambda inner: None)])


def board_page() -> str:
    """Return the page of the keys of a board file; sections that a space file has too are links to its page."""
    of_space = {held_section(info.annotation): key for key, info in Space.model_fields.items()}
    return "\n".join([BOARD_HEAD, *_headed(Board, lambda inner: of_space.get(inner))])


def _headed(model: type[Section], told_elsewhere: Callable[[type[Section]], str | None]) -> Iterator[str]:
    """Yield the keys of a file: first those that hold no section, then a heading for each that does."""
    inner = {key: held_section(info.annotation) for key, info in model.model_fields.items()}
    meanings = key_meanings(model)
    yield "## The file\n\n" + explain(model.__doc__, model.model_fields).whole + "\n"
    for key, info in model.model_fields.items():
        section = inner[key]
        told = told_elsewhere(section) if section else None
        rest = f" See [`{told}`](space-file.md#{told})." if told else f" See [below](#{key})." if section else ""
        yield _entry(key, info, meanings[key]) + rest
    yield ""
    for key, section in inner.items():
        if section and not told_elsewhere(section):
            items = ".N" if "list[" in str(model.model_fields[key].annotation) else ""
            yield f"## {key}\n\n{explain(section.__doc__, section.model_fields).whole}\n"
            yield from _entries(section, f"{key}{items}", told_elsewhere)
            yield ""


def _entries(
    section: type[Section], above: str, told_elsewhere: Callable[[type[Section]], str | None]
) -> Iterator[str]:
    meanings = key_meanings(section)
    for key, info in section.model_fields.items():
        inner = held_section(info.annotation)
        told = told_elsewhere(inner) if inner else None
        yield _entry(f"{above}.{key}", info, meanings[key]) + (
            f" See [`{told}`](space-file.md#{told})." if told else ""
        )
        if inner and not told:
            yield from _entries(inner, f"{above}.{key}", told_elsewhere)


def _entry(key: str, info: FieldInfo, meaning: str) -> str:
    return f"- `{key}` ({describe(info.annotation, info.metadata)}; {_shown_default(info)}): {meaning}"


def _shown_default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = _plain(info.get_default(call_default_factory=True))
    if isinstance(value, dict) and value:
        return "optional"  # its keys have defaults, which stand below
    written = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return f"default `{written.removesuffix('...' + chr(10)).strip()}`"


def _plain(value: Any) -> Any:
    """Return a default as a file would have it; a name without options as the name alone."""
    if isinstance(value, NamedSection) and not value.options:
        return value.name
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.model_dump(mode="json") if isinstance(value, Section) else value


def held_section(annotation: Any) -> type[Section] | None:
    """Return the section that a key holds, alone, in a list or beside other things; None for plain values and names."""
    if get_origin(annotation) in (Union, types.UnionType, Annotated, list):
        return next((found for part in get_args(annotation) if (found := held_section(part))), None)
    if isinstance(annotation, type) and issubclass(annotation, Section) and not issubclass(annotation, NamedSection):
        return annotation
    return None


PAGES: dict[str, Callable[[], str]] = {
    "criteria.md": criteria_page,
    "reference/names.md": names_page,
    "reference/commands.md": commands_page,
    "reference/space-file.md": space_page,
    "reference/board-file.md": board_page,
}
"""Page below docs/ -> what writes it."""

if __name__ == "__main__":
    for name, make in PAGES.items():
        page = DOCS / name
        page.parent.mkdir(exist_ok=True)
        page.write_text(make())
