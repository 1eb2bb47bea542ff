"""The pages of docs/: every code block is run, as a reader would who types it.

A block with a title is a file that the reader writes; ```bash blocks are typed; {data-exit="2"} says how one ends.
Blocks marked {.slow} are left out here and run in a test of their own; those marked {data-skip="why"} are not run, nor
is ```text.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import markdown
import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(?P<words>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = ["pymdownx.highlight", "pymdownx.superfences", "attr_list"]
"""As in mkdocs.yml."""


@dataclass(frozen=True)
class Block:
    """A code block: its language, the file it is written to (None: it is typed), how it ends, whether it is slow."""

    language: str
    title: str | None
    text: str
    code: int
    slow: bool
    skip: bool


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page in order."""
    found = []
    for match in FENCE.finditer(page.read_text()):
        language, _, words = match["words"].partition(" ")
        options = dict(re.findall(r'([\w-]+)="([^"]+)"', words))
        found.append(
            Block(
                language=language,
                title=options.get("title"),
                text=match["text"],
                code=int(options.get("data-exit", 0)),
                slow=".slow" in words,
                skip="data-skip" in options or language == "text",
            )
        )
    return found


PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if any(not one.skip for one in blocks(page))]


def environment() -> dict[str, str]:
    """Return the environment of a reader who has activated the virtual environment in the clone's folder."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([".", str(ROOT)]), "OMP_NUM_THREADS": "1"}


def play(page: Path, folder: Path, slow: bool, timeout: int = 280) -> None:
    """Write and type the blocks of a page in a folder that holds search_spaces, as the clone does.

    timeout: seconds that a block may take.
    """
    (folder / "search_spaces").symlink_to(ROOT / "search_spaces")
    for block in blocks(page):
        if block.skip:
            continue
        if block.title:
            (folder / block.title).write_text(block.text)
        elif block.slow == slow:
            assert block.language == "bash", f"{page.name}: a {block.language} block without a title is not run"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout,
            )  # fmt: skip
            assert done.returncode == block.code, f"{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_typed(page, tmp_path):
    play(page, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if any(b.slow for b in blocks(page))], ids=lambda p: p.stem)
def test_the_long_commands_of_a_page_can_be_typed(page, tmp_path):
    play(page, tmp_path, slow=True, timeout=840)


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert page.relative_to(ROOT / "docs").as_posix() in navigation, page


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_code_blocks_are_shown_as_blocks(page):
    shown = markdown.markdown(page.read_text(), extensions=SHOWN)
    assert len(re.findall(r'<div class="[^"]*highlight"', shown)) == len(FENCE.findall(page.read_text()))
    assert "```" not in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_space_files_in_commands_are_there(page):
    text = page.read_text()
    written = {block.title for block in blocks(page)}
    written |= {f"{name}.yaml" for name in re.findall(r"blendsearch init --example (\w+)", text)}
    for name in set(re.findall(r"blendsearch \w+ (\S+\.yaml)", text)):
        assert name in written or (ROOT / name).is_file(), name
