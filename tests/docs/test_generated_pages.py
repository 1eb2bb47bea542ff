"""The pages of docs/ that are made from the code are what it makes today."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from typer.main import get_command

from blendsearch.cli import app
from blendsearch.config import Space
from blendsearch.validation.catalogue import REGISTRIES, catalogue

ROOT = Path(__file__).parents[2]


def make_docs():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", make_docs().PAGES)
def test_a_page_is_up_to_date(page):
    module = make_docs()
    assert (module.DOCS / page).read_text() == module.PAGES[page](), "run scripts/make_docs.py"


def test_every_command_has_its_options_on_the_page():
    page = (ROOT / "docs" / "reference" / "commands.md").read_text()
    for name, command in get_command(app).commands.items():
        part = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for option in command.params:
            assert all(flag in part for flag in option.opts if flag.startswith("--")), (name, option.opts)


def test_every_key_is_on_the_page():
    page = (ROOT / "docs" / "reference" / "space-file.md").read_text()
    assert all(f"\n- `{key}` (" in page for key in Space.model_fields)
    assert "- `search.finals.rungs` (a list of shares, at most 1; default `[0.1, 0.3]`): " in page
    assert "- `model.name` (a text; required): " in page


def test_every_name_is_on_a_page():
    page = (ROOT / "docs" / "reference" / "names.md").read_text()
    for kind in set(REGISTRIES) - {"criteria"}:
        assert all(f"- `{row['name']}`: " in page for row in catalogue(kind))
