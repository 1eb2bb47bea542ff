"""Own images in class folders that are damaged: pixels, or a line that names the file."""

from __future__ import annotations

import io

import numpy as np
from fuzzing import amounts, damaged_bytes, for_all, outcome
from hypothesis import strategies as st
from PIL import Image

from blendsearch.data.decoding import pixels, read_head

MODES = ("RGB", "L", "RGBA", "P", "1", "LA")


def as_file(mode: str, form: str) -> bytes:
    """Return a small image as a file of a format."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, form)
    return file.getvalue()


IMAGES = st.sampled_from([as_file(mode, "PNG") for mode in MODES] + [as_file(mode, "JPEG") for mode in ("RGB", "L")])


@amounts("damaged images")
def test_any_image_is_read_or_told_in_a_line(cases, tmp_path):
    def check(content, mode):
        file = tmp_path / "image.png"
        file.write_bytes(content)
        head = outcome(lambda: read_head(str(file)), tmp_path)
        found = outcome(lambda: pixels(str(file), mode), tmp_path)
        if found is not None:
            assert found.dtype == np.uint8
            assert found.shape[:2] == (head.height, head.width)

    for_all(cases, check, damaged_bytes(IMAGES), st.sampled_from(["RGB", "L"]))
