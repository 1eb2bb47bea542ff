"""Names as they stand in the source are those of the registries, and a file is checked by them without loading any."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blendsearch.config import Board, Space
from blendsearch.errors import ConfigError
from blendsearch.validation.catalogue import REGISTRIES
from blendsearch.validation.quick import load_by_names
from blendsearch.validation.written_names import ROOMS, written_names

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
WRONG = """\
data: {name: digitz}
model: {name: conv5}
criteria: [l1, tailor]
allocation: uniformly
proxy: {name: compensate}
schedule: one_shoot
search: {algorithm: genetic}
audit: {proxies: [zero]}
seed: x
"""


@pytest.mark.parametrize("kind", ROOMS)
def test_written_names_are_those_of_the_registry(kind):
    assert list(written_names(kind)) == REGISTRIES[kind].names()


def test_every_wrong_name_is_told_with_its_line(tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    with pytest.raises(ConfigError) as caught:
        load_by_names(file)
    lines = str(caught.value).splitlines()
    assert len(lines) == 9
    assert lines[2].startswith(f"{file}:3: criteria.1: unknown criterion 'tailor'; did you mean 'taylor'?")
    assert lines[0].startswith(f"{file}:1: data.name: unknown data set 'digitz'; did you mean 'digits'?")


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_the_examples_pass(file):
    assert isinstance(load_by_names(file, ["seed=4"]), Space | Board)


def test_nothing_heavy_is_loaded():
    code = (
        "import sys; from blendsearch.validation.quick import load_by_names; load_by_names(sys.argv[1]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'sklearn', 'scipy', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(SPACES[0])], check=False).returncode == 0
