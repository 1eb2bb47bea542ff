"""Trees and files that nobody makes by accident: bombs, pipes, devices, links in a circle; refused by name, soon."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_trees import class_tree, load_tree

from blendsearch.data.class_folders import class_files, image_files
from blendsearch.data.decoding import pixels, read_head
from blendsearch.data.walking import MOST_VISITS, walk
from blendsearch.errors import DataError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return class_tree(tmp_path, 8)


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_tree(root)
    (line,) = str(caught.value).splitlines()
    assert "data.on_error: skip leaves" in line
    return line


def skipped(root: Path) -> tuple[str, ...]:
    return load_tree(root, on_error="skip").skipped


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif(screen: int, frame: int, path: Path) -> None:
    Image.new("P", (4, 4)).save(path, "GIF")
    data = bytearray(path.read_bytes())
    at = data.index(b",")
    data[6:10], data[at + 5 : at + 9] = struct.pack("<HH", screen, screen), struct.pack("<HH", frame, frame)
    path.write_bytes(data)


def write_bomb(kind: str, path: Path) -> None:
    if kind == "png":
        path.write_bytes(png(20_000, 20_000, b""))
    elif kind == "smaller png":
        path.write_bytes(png(12_000, 12_000, b""))
    elif kind == "ppm":
        path.write_bytes(b"P6 100000 100000 255\n")
    elif kind == "webp":
        Image.new("L", (4, 4)).save(path, "WEBP", lossless=True)
        data = path.read_bytes()
        at = data.index(b"VP8L") + 9  # after the form's mark: 14 bits each of width and height less one
        path.write_bytes(data[:at] + b"\xff\xff\xff\x0f" + data[at + 4 :])
    elif kind.startswith("gif"):
        gif(*((60_000, 4) if kind == "gif screen" else (4, 60_000)), path)
    else:
        form, options = {"tif": ("TIFF", {"compression": "group4"}), "bmp": ("BMP", {})}[kind]
        Image.new("1", (20_000, 20_000)).save(path, form, **options)


@pytest.mark.parametrize("kind", ["png", "smaller png", "ppm", "gif screen", "gif frame", "tif", "webp", "bmp"])
def test_a_small_file_of_a_huge_picture_is_refused_before_anything_is_decoded(tree, monkeypatch, kind):
    with monkeypatch.context() as unbound:
        unbound.setattr(Image, "MAX_IMAGE_PIXELS", None)
        write_bomb(kind, tree / "dog" / "bomb.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    for read in (read_head, lambda path: pixels(path, "RGB")):
        with pytest.raises(DataError, match=r"^data\.root: '.*bomb\.png' .*decompression bomb"):
            read(str(tree / "dog" / "bomb.png"))
    monkeypatch.undo()
    assert "bomb.png" in refused(tree)
    assert skipped(tree) == (str(tree / "dog" / "bomb.png"),)


def test_a_large_picture_that_is_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    array = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "large.png")
    with pytest.warns(Image.DecompressionBombWarning):
        assert (pixels(str(tmp_path / "large.png"), "RGB") == array).all()
    Image.fromarray(np.zeros((40, 44, 3), dtype=np.uint8)).save(tmp_path / "flat.png", optimize=True)
    monkeypatch.setattr("blendsearch.data.decoding.PIXELS_PER_BYTE", 1)
    with (
        pytest.raises(DataError, match=r"unfolds .* bytes to 44x40 pixels"),
        pytest.warns(Image.DecompressionBombWarning),
    ):
        pixels(str(tmp_path / "flat.png"), "RGB")


def test_a_text_that_unfolds_in_a_picture_is_refused(tree):
    good = (tree / "dog" / "0.png").read_bytes()
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 20_000_000, 9))
    (tree / "dog" / "0.png").write_bytes(good[:33] + text + good[33:])
    assert "0.png' cannot be read as an image" in refused(tree)


def test_no_other_program_is_run_for_a_picture(tree, monkeypatch):
    import subprocess

    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs", raising=False)
    monkeypatch.setattr(subprocess, "check_call", lambda *given, **more: pytest.fail("a program was run"))
    (tree / "dog" / "0.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"
    )
    assert "0.png' cannot be read as an image" in refused(tree)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device", "broken link", "link to a pipe"])
def test_what_is_no_file_is_refused_and_not_waited_for(tree, kind):
    odd = tree / "dog" / "odd.png"
    if "pipe" in kind:
        os.mkfifo(odd if kind == "pipe" else tree / "elsewhere")
    if kind == "link to a pipe":
        odd.symlink_to(tree / "elsewhere")
    if kind == "device":
        odd.symlink_to("/dev/zero")
    if kind == "broken link":
        odd.symlink_to(tree / "nowhere")
    told = "cannot be read as an image" if kind == "broken link" else "is no file but a pipe, a device or the like"
    assert f"odd.png' {told}" in refused(tree)
    assert skipped(tree) == (str(odd),)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("target", [".", "..", "../..", "../dog/inner"])
def test_a_link_to_its_own_parent_is_refused_by_name(tree, target):
    (tree / "dog" / "inner").mkdir()
    loops = [tree / "dog" / "inner" / name for name in ("again", "once more", "more")]  # three: 3^40 ways for os.walk
    for loop in loops:
        loop.symlink_to(tree / "dog" if target == "../dog/inner" else target)
    line = refused(tree)
    assert f"'{loops[0]}' is a link to '" in line
    assert "a folder that it lies in" in line
    assert set(map(str, loops)) <= set(skipped(tree))
    with pytest.raises(DataError, match="a folder that it lies in"):
        image_files(tree)


def test_links_that_branch_at_every_level_end(tmp_path):
    for level in range(40):
        (tmp_path / f"level{level}").mkdir()
        for name in "ab":
            (tmp_path / f"level{level}" / name).symlink_to(tmp_path / f"level{level + 1}")
    (tmp_path / "level40").mkdir()
    with pytest.raises(DataError, match=f"is one of over {MOST_VISITS} links to one folder"):
        list(walk(tmp_path / "level0"))


def test_plain_links_are_followed_in_the_order_of_torchvision(tree):
    from torchvision.datasets import ImageFolder

    (tree / "dog" / "more").mkdir()
    (tree / "dog" / "more").rename(tree / "more")
    for number in range(3):
        (tree / "cat" / f"{number}.png").rename(tree / "more" / f"{number}.PNG")
    (tree / "more").rename(tree / "cat" / "b")
    (tree / "dog" / "linked").symlink_to(tree / "cat" / "b")
    (tree / "bird").symlink_to(tree / "dog")
    (tree / "dog" / "notes.txt").touch()
    expected = ImageFolder(str(tree))
    samples, classes = class_files(tree)
    assert (samples, classes) == (expected.samples, tuple(expected.classes))
