"""Whose code a run folder names: that of a folder which this user made here is run, any other only when asked to.

A space can name a function of any importable module, and what arguments it gets: somebody's run folder is then a
program. A folder with own code has a mark of it in its job.json, made with a key that lies in the user's own state
folder; nobody else can make one.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blendsearch.config import Board, ModelConfig, Space
from blendsearch.errors import RunError
from blendsearch.models.loading import is_own_code
from blendsearch.results.reading import SETTINGS, parse
from blendsearch.results.records.common import JobRecord


def own_networks(settings: Space | Board) -> list[ModelConfig]:
    """Return the networks of a space or board that are built by code of nobody that is known."""
    models = [settings.model] if isinstance(settings, Space) else [one.model for one in settings.networks]
    return [model for model in models if is_own_code(model.name)]


def mark_facts(settings: Space | Board) -> dict[str, str]:
    """Return what job.json says of the code that a run's settings name; nothing where they name none."""
    own = own_networks(settings)
    key = _key(make=True) if own else None
    return {} if key is None else {"mark": _mark(key, own)}


def check_code(folder: Path, own: Sequence[ModelConfig], trust_code: bool) -> None:
    """Raise RunError where a run folder names own code that this user neither ran here nor says to trust."""
    if own and not trust_code and not _is_marked(folder, own):
        raise RunError(
            f"{folder}: its network is {own[0].name}, code that this command would run, and the folder was not made "
            "here by you; once you trust it, add --trust-code (in Python trust_code=True)"
        )


def check_file(file: Path, settings: Space | Board, alone: Callable[[], Space | Board], trust_code: bool) -> None:
    """Do as `check_code` does for a space or board file that lies in a run folder; any other is the user's own.

    settings: the file's with what the user changed about them. alone: reads those of the file.
    """
    if own_networks(settings) and any((file.parent / name).is_file() for name in SETTINGS):
        check_code(file.parent, own_networks(alone()), trust_code)


def _is_marked(folder: Path, own: Sequence[ModelConfig]) -> bool:
    file, key = folder / "job.json", _key(make=False)
    if key is None or not file.is_file():
        return False
    mark = parse(file, file.read_text(encoding="utf-8"), JobRecord).mark
    return mark is not None and hmac.compare_digest(mark.encode(), _mark(key, own).encode())


def _mark(key: bytes, own: Sequence[ModelConfig]) -> str:
    named: list[tuple[str, Mapping[str, Any]]] = [(model.name, model.arguments) for model in own]
    return hmac.new(key, json.dumps(named, sort_keys=True, default=str).encode(), hashlib.sha256).hexdigest()


def key_file() -> Path:
    """Return where the user's key lies: in $XDG_STATE_HOME, or where that is by default."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "blendsearch" / "key"


def _key(*, make: bool) -> bytes | None:
    """Return the user's key, made the first time that it is needed; None where there is none and can be none."""
    file = key_file()
    with contextlib.suppress(OSError, RuntimeError):  # no home, a home that is read-only: folders are then not marked
        if make and not file.exists():
            _write_key(file)
        found = file.read_bytes()
        return found if len(found) >= 32 else None
    return None


def _write_key(file: Path) -> None:
    """Write a key that the user alone can read; of two processes that do so at once the first one's stays."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{os.getpid()}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
            target.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            os.link(part, file)
    finally:
        part.unlink(missing_ok=True)
