"""For mkdocstrings: what a docstring says of arguments and attributes in `name: text` lines becomes a list of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import griffe

from blendsearch.config.meanings import explain


class Meanings(griffe.Extension):
    """Rewrites docstrings as they are read into Google's form, which mkdocstrings lays out."""

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        """Tell what arguments mean."""
        rewrite(func, "Args", [one.name for one in func.parameters])

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Tell what attributes mean; those that are set in `__init__` are among them."""
        rewrite(cls, "Attributes", [name for name, member in cls.members.items() if member.is_attribute])


def rewrite(documented: griffe.Object, heading: str, names: Collection[str]) -> None:
    """Move what a docstring says of names into a section of its own, at its end."""
    if documented.docstring is None:
        return
    found = explain(documented.docstring.value, names)
    if found.meanings:
        listed = [f"    {name}: {found.meanings[name]}" for name in names if name in found.meanings]
        documented.docstring.value = "\n".join([found.whole, "", f"{heading}:", *listed])
