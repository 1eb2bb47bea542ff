"""The example spaces that come with the package: those of the repository's folder search_spaces."""

from __future__ import annotations

from pathlib import Path

from blendsearch.errors import unknown_name

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "examples", PACKAGE.parent / "search_spaces")
"""Where they are: put into an installed package when it was built, in a clone beside the package."""


def examples_folder() -> Path:
    """Return the folder of the example spaces."""
    return next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])


def example_names() -> list[str]:
    """Return the names of the example spaces and boards in alphabetical order."""
    return sorted(file.stem for file in examples_folder().glob("*.yaml"))


def read_example(name: str) -> str:
    """Return the text of an example; UnknownNameError with the nearest one for a name that none has."""
    if name not in example_names():
        raise unknown_name("example", name, example_names(), "--example")
    return (examples_folder() / f"{name}.yaml").read_text(encoding="utf-8")
