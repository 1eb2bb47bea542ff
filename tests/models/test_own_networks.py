"""Networks that users name in a space, and what is wrong with them: one line with what they wrote, exit code 2."""

from __future__ import annotations

import pytest
from odd_networks import NoCopies, RaisesForward, RaisesInEval, Sound
from typer.testing import CliRunner

import blendsearch
from blendsearch.cli import app
from blendsearch.config import ModelConfig
from blendsearch.errors import ConfigError, StructureError
from blendsearch.models.loading import build, is_own_code
from blendsearch.structure import Structure


def refused(name):
    with pytest.raises(ConfigError) as caught:
        build(ModelConfig(name=name), num_classes=10, shape=(1, 8, 8))
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("RaisesForward", "cannot take images of 1x8x8 (CxHxW): Odd: I am broken ("),
        ("RaisesInEval", "cannot take images of 1x8x8 (CxHxW): Odd: no eval ("),
        ("RaisesInOtherBatches", "cannot take images of 1x8x8 (CxHxW) in a batch of 1: Odd: two alone ("),
        ("GivesTuple", "gives tuple for 2 images, allowed: logits (2, 10)"),
        ("GivesDict", "gives dict for 2 images, allowed: logits (2, 10)"),
        ("GivesNothing", "gives NoneType for 2 images, allowed: logits (2, 10)"),
        ("GivesFew", "gives (2, 3) for 2 images, allowed: logits (2, 10)"),
        ("Exits", "cannot take images of 1x8x8 (CxHxW): SystemExit: 3 ("),
        ("EvalGivesNothing", ": its eval() gives something else than the network itself"),
        ("EvalRaises", "cannot take images of 1x8x8 (CxHxW): Odd: eval ("),
        ("NoCopies", "cannot be copied by copy.deepcopy: Odd: no copy ("),
        ("NeedsArguments", "missing 2 required positional arguments: 'depth' and 'width'"),
        ("RaisesWhenMade", "raised Odd: init ("),
        ("NotMade", "raised AttributeError: cannot assign module before Module.__init__() call ("),
        ("nothing", "gave NoneType, a torch.nn.Module is needed"),
        ("ends", "raised SystemExit: 4 ("),
    ],
)
def test_what_is_wrong_with_an_own_network_is_told(name, told):
    line = refused(f"odd_networks:{name}")
    assert line.startswith(("model.name: odd_networks:" + name, "model.arguments: odd_networks:" + name))
    assert told in line
    if told.endswith("("):
        assert "odd_networks.py:" in line


@pytest.mark.parametrize(
    "name", ["sys:exit", "os:getcwd", "os:abort", "builtins:exit", "subprocess:run", "os.path:join"]
)
def test_python_itself_is_not_called(name):
    assert refused(name) == f"model.name: '{name.partition(':')[0]}' is a part of Python itself, which has no networks"


def test_names_that_stand_for_nothing_are_told(tmp_path, monkeypatch):
    assert "has no callable 'NUMBERS'" in refused("odd_networks:NUMBERS")
    assert "cannot import 'no_such' (ModuleNotFoundError" in refused("no_such:network")
    (tmp_path / "leaves.py").write_text("raise SystemExit('enough')")
    monkeypatch.chdir(tmp_path)
    assert "cannot import 'leaves' (SystemExit: enough (" in refused("leaves:network")


def test_a_sound_one_is_built_and_known_as_own_code():
    assert isinstance(build(ModelConfig(name="odd_networks:Sound"), num_classes=10, shape=(1, 8, 8)), Sound)
    assert is_own_code("odd_networks:Sound")
    assert not any(is_own_code(name) for name in ("conv4", "torchvision:resnet18", "timm:resnet18", "given:Sound"))


@pytest.mark.parametrize("kind", [RaisesForward, RaisesInEval])
def test_one_that_was_handed_over_is_told_too(kind):
    import torch

    with pytest.raises(
        StructureError, match=rf"^{kind.__name__}: the network cannot run on the example \(Odd: "
    ) as told:
        Structure.of(kind(), torch.zeros(2, 1, 8, 8))
    assert "\n" not in str(told.value)
    with pytest.raises(StructureError, match="cannot be copied"):
        blendsearch.score(NoCopies(), [(torch.zeros(2, 1, 8, 8), torch.zeros(2).long())], ["l1"], progress=None)


def test_one_that_fails_in_the_middle_is_told_with_its_line(tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text("data: {name: digits, test: 200, calibration: 100, search: 100}\ncompute: {workers: 1}\n")
    words = ["train", str(space), "model.name=odd_networks:RaisesInTraining", "--run-dir", str(tmp_path / "run")]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 2
    line = found.stderr.strip().splitlines()[-1]
    assert line.startswith("own code raised Odd: no train (")
    assert "odd_networks.py:" in line
