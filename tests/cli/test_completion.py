"""What a shell completes, and that it does not wait for torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from blendsearch.cli.completion import (
    complete_criterion,
    complete_example,
    complete_kind,
    complete_model,
    complete_override,
)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("budget.fl", ["budget.flops="]),
        ("retraining.ep", ["retraining.epochs="]),
        ("sear", None),
        ("allocation=gl", ["allocation=global_threshold"]),
        ("criteria=[l1,tay", ["criteria=[l1,taylor", "criteria=[l1,taylor_weight"]),
        ("criteria=[l1, fpg", ["criteria=[l1, fpgm"]),
        ("criteria=[fpg", ["criteria=[fpgm"]),
        ("training.optimizer=", ["training.optimizer=sgd", "training.optimizer=adamw"]),
        ("data.augmentation.flip=t", ["data.augmentation.flip=true"]),
        ("data.validation=", ["data.validation=auto", "data.validation=part", "data.validation=none"]),
        ("no.such.key=", []),
        ("seed=", []),
    ],
)
def test_keys_and_their_values(typed, expected):
    found = complete_override(typed)
    if expected is None:
        assert "search.population=" in found
        assert all(one.startswith("search.") for one in found)
    else:
        assert found == expected


def test_names_and_kinds():
    assert complete_criterion("fis") == ["fisher"]
    assert complete_kind("mo") == ["models"]
    assert "resnet20" in complete_model("res")
    assert complete_example("digi") == ["digits"]


def test_a_shell_gets_them_without_torch():
    code = (
        "import sys; from blendsearch.cli import completion as c; "
        "assert c.complete_override('proxy=') and c.complete_override('se') and c.complete_example(''); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
