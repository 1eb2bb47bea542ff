"""From where a run can be repeated: its space keeps paths as they were given, some from the folder of the start."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendsearch.plain import Unchecked

LIBRARIES = ("torchvision", "timm")
STAND_IN = "RUN"


@dataclass(frozen=True)
class CommandPlace:
    """Where to type a command, in words, and what the run folder is called from there.

    cd: the line that goes there first, "" where there is none.
    """

    words: str
    folder: str
    cd: str = ""

    @property
    def typed(self) -> str:
        """The run folder as it is to be typed."""
        return shlex.quote(self.folder)

    def path(self, name: str) -> str:
        """Return a file of the run folder as it is to be typed."""
        return name if self.folder == "." else shlex.quote(f"{self.folder}/{name}")


def place_commands(spaces: Iterable[Unchecked], run: Path) -> CommandPlace:
    """Return where commands with these spaces (or boards) must be typed: in the run folder where nothing is relative.

    Else they begin by going to where the run was started, as its job.json says. Of a run of an earlier version that is
    not known, so the page says which folder is meant, and why.
    """
    keys = list(dict.fromkeys(key for space in spaces for key in relative_paths(space)))
    if not keys:
        return CommandPlace("in this folder", ".")
    start = _started_in(run)
    if start is not None:
        folder = run.resolve()
        inside = folder.relative_to(start) if folder.is_relative_to(start) else folder
        words = f"from where the run was started (the settings name {', '.join(keys)} from there)"
        return CommandPlace(words, str(inside), f"cd {shlex.quote(str(start))}\n")
    words = f"in the folder where the run was started (from there the settings name {', '.join(keys)}; "
    return CommandPlace(f"{words}{STAND_IN} stands for the path of this folder)", STAND_IN)


def _started_in(run: Path) -> Path | None:
    """Return the folder in which a run was started, None where its job.json does not say or it is no longer there."""
    try:
        noted = json.loads((run / "job.json").read_text(encoding="utf-8")).get("started_in")
    except (OSError, ValueError, AttributeError):
        return None
    start = Path(noted).resolve() if isinstance(noted, str) else None
    return start if start is not None and start.is_dir() else None


def relative_paths(space: Unchecked) -> Iterator[str]:
    """Yield the keys of a space, or of a board and its networks, under which a path or own code is looked for.

    Values of a wrong form are passed over.
    """
    for network in _listed(space.get("networks")):
        yield from relative_paths(network)
    model = _section(space.get("model"))
    if _relative(_section(space.get("data")).get("root")):
        yield "data.root"
    if _own_code(model.get("name")):
        yield "model.name"
    if _relative(model.get("weights")):
        yield "model.weights"
    if _relative(_file(space.get("ratings"))):
        yield "ratings"
    if any(_relative(_file(one)) for one in _all(space.get("blends"))):
        yield "blends"
    if any(_relative(one) for one in _all(_section(space.get("search")).get("start_from"))):
        yield "search.start_from"


def _relative(path: object) -> bool:
    return isinstance(path, str) and not path.startswith("~") and not Path(path).is_absolute()


def _own_code(name: object) -> bool:
    """Tell whether a network is built by a function of the user's, which is looked for in the current folder too."""
    library, colon, _ = name.partition(":") if isinstance(name, str) else ("", "", "")
    return bool(colon) and library not in LIBRARIES


def _section(value: object) -> Unchecked:
    return value if isinstance(value, Mapping) else {}


def _file(value: object) -> object:
    return value.get("file") if isinstance(value, Mapping) else value


def _all(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _listed(value: object) -> list[Unchecked]:
    return [one for one in _all(value) if isinstance(one, Mapping)]
