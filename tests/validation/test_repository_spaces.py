"""The space and board files of the repository: every name and option is known, and every command in comments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blendsearch.criteria import CRITERIA
from blendsearch.validation.board import load_checked_space_or_board

SPACES = sorted(Path("search_spaces").glob("*.yaml"))
COMMAND = re.compile(r"^#\s+blendsearch \w+ (?P<file>search_spaces/\S+)(?P<rest>.*)$", re.MULTILINE)
SCRIPT = re.compile(r"^#\s+\S*python (?P<script>scripts/\S+) (?P<file>search_spaces/\S+)", re.MULTILINE)


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.name)
def test_every_name_and_option_is_known(file):
    assert load_checked_space_or_board(file, ["compute.workers=1"]).name == file.stem


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.name)
def test_every_command_in_the_comments_can_be_typed(file):
    text = file.read_text()
    commands = COMMAND.findall(text)
    assert commands
    for named, rest in commands:
        words = rest.split()
        assert Path(named) == file
        if "--by" in words:
            assert words[words.index("--by") + 1] in CRITERIA
        for option in {"--by", "--run-dir"} & set(words):
            at = words.index(option)
            del words[at : at + 2]
        words = [word for word in words if word != "--resume"]
        load_checked_space_or_board(file, [*words, "compute.workers=1"], resumed=True)  # its files need not be here
    for script, named in SCRIPT.findall(text):
        assert Path(script).is_file()
        assert Path(named) == file
