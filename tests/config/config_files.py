"""A small space, a small board, and the lines that tell what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from blendsearch.config import load_space
from blendsearch.errors import ConfigError

GOOD = """\
name: small
data: {name: digits}
model: {name: conv4}
training: {epochs: 1, lr: 1e-3}
retraining: {epochs: 0.5}
budget:
  flops: 0.5
"""
BOARD = """\
name: board
networks:
- name: small
  data: {name: digits}
  model: {name: conv4}
  training: {epochs: 1}
budgets:
- flops: 0.5
- {params: 0.4, min_keep: 0.2}
retraining: {epochs: 0.5}
"""


def lines_of(error: pytest.ExceptionInfo[ConfigError], file: Path) -> list[str]:
    return str(error.value).replace(str(file), "FILE").splitlines()


def mistakes_of(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_space(file, overrides)
    return lines_of(error, file)
