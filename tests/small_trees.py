"""A small tree of class folders with images, for tests of what lies or goes wrong in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from blendsearch.config import DataConfig
from blendsearch.data.splits import load_splits


def class_tree(root: Path, images: int) -> Path:
    """Write class folders cat and dog with so many images each, and return their root."""
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(images):
            array = draws.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(array).save(root / name / f"{number}.png")
    return root


def load_tree(root: Path, **keys):
    """Return the splits of a tree, two images each."""
    config = DataConfig(name="folder", root=str(root), calibration=2, search=2, test=2, workers=0, **keys)
    return load_splits(config, 0)
