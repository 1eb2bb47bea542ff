"""The space file: defaults, overrides, and every kind of mistake with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from config_files import GOOD, mistakes_of

from blendsearch.config import (
    Board,
    BudgetConfig,
    Space,
    TrainingConfig,
    is_board,
    load_board,
    load_space,
    space_from_dict,
)
from blendsearch.config.mistakes import key_paths
from blendsearch.errors import ConfigError

SPACES = sorted(Path("search_spaces").glob("*.yaml"))


def test_defaults_and_values(write):
    space = load_space(write(GOOD))
    assert (space.name, space.seed, space.criteria) == ("small", 0, "all")
    assert space.training.lr == pytest.approx(1e-3)
    assert space.retraining.epochs == 0.5
    assert (space.retraining.seeds, space.budget.kind, space.budget.ratio) == (1, "flops", 0.5)
    assert (space.proxy.name, space.proxy.options) == ("compensated", {})


@pytest.mark.parametrize("key", ["allocation", "proxy", "schedule"])
def test_a_name_alone_is_a_mapping_with_that_name(write, key):
    short = load_space(write(f"{GOOD}{key}: some_name\n"))
    long = load_space(write(f"{GOOD}{key}: {{name: some_name}}\n"))
    assert short == long
    assert getattr(short, key).name == "some_name"


def test_options_stay_with_the_name(write):
    space = load_space(write(GOOD + "proxy: {name: compensated, ridge: 1e-3}\n"), ["proxy.images=256"])
    assert space.proxy.options == {"ridge": 0.001, "images": 256}


def test_an_override_turns_a_name_alone_into_a_mapping(write):
    space = load_space(write(GOOD + "proxy: compensated\n"), ["proxy.images=256"])
    assert (space.proxy.name, space.proxy.options) == ("compensated", {"images": 256})


def test_overrides(write):
    overrides = [
        "search.population=12",
        "seed=3",
        "criteria=[l1, l2]",
        "budget.flops=null",
        "budget.params=.4",
    ]
    space = load_space(write(GOOD), [*overrides, "seed=4", "clusters.count=auto", "model.arguments.width=8"])
    assert (space.search.population, space.seed, space.criteria) == (12, 4, ["l1", "l2"])
    assert (space.budget.kind, space.budget.ratio) == ("params", 0.4)
    assert space.model.arguments == {"width": 8}


def test_numbers_are_read_as_they_look(write):
    """YAML 1.1, which PyYAML speaks, takes 0100 for octal and 1:30 for ninety."""
    text = "data: {name: digits, root: 1:30}\nmodel: {name: conv4}\nseed: 010\n"
    text += "training: {batch_size: 0100, lr: 05.5e-2}\n"
    space = load_space(write(text), ["retraining.batch_size=08", "retraining.epochs=007"])
    assert (space.seed, space.training.batch_size, space.training.lr) == (10, 100, 0.055)
    assert (space.retraining.batch_size, space.retraining.epochs, space.data.root) == (8, 7, "1:30")
    with pytest.raises(ConfigError, match=re.escape("training.epochs: wrong type (given the text '1:30'")):
        load_space(write(text), ["training.epochs=1:30"])


@pytest.mark.parametrize("text", ["010", "08", "-07", "1:30", "1:30.5", "1e3", "1_000"])
def test_texts_that_look_like_numbers_stay_texts_when_written(write, text):
    space = space_from_dict({"name": "x", "data": {"name": "digits", "root": text}, "model": {"name": "conv4"}})
    assert load_space(write(space.to_yaml())) == space


def test_an_override_gives_the_algorithm_options(write):
    space = load_space(write(GOOD + "search: {algorithm: tpe}\n"), ["search.algorithm.step=2"])
    assert space.search.algorithm.name == "tpe"
    assert space.search.algorithm.options == {"step": 2}
    (line,) = mistakes_of(write(GOOD), "search.algorithm.step=2")  # of which, nobody knows
    assert line.endswith("search.algorithm.name: missing key (allowed a text)")


@pytest.mark.parametrize(("key", "now"), [("control", "random_search"), ("sampler", "algorithm")])
def test_a_renamed_key_says_what_it_is_now(write, key, now):
    (line,) = mistakes_of(write(GOOD), f"search.{key}=x")
    assert line == f"override search.{key}=x: search.{key}: unknown key; it is now 'search.{now}'"


def test_written_space_reads_back_equal(write):
    space = load_space(write(GOOD), ["data.mean=[0.5]", "model.arguments.tag='1e-3'", "proxy.ridge=1e-7"])
    assert load_space(write(space.to_yaml())) == space
    assert space_from_dict(space.to_dict()) == space


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.name)
def test_spaces_of_the_repository_are_valid_and_name_every_section(file):
    text = file.read_text()
    if is_board(file):
        assert isinstance(load_board(file), Board)
    else:
        assert isinstance(load_space(file), Space)
        assert "budget:" in text
    assert all(f"{key}:" in text for key in ("data", "model", "training", "retraining"))


def test_all_mistakes_at_once_each_with_its_line(write):
    file = write(
        "name: small\n"
        "seed: '3'\n"
        "data:\n"
        "  name: digits\n"
        "  calibation: 10\n"
        "model: {arguments: {}}\n"
        "training: {epochs: -1, optimizer: sdg}\n"
        "budget:\n"
        "  flops: 1\n"
        "clusters:\n"
        "  count: 0\n"
    )
    found = mistakes_of(file)
    assert [line.split(": ")[:2] for line in found] == [
        ["FILE:2", "seed"],
        ["FILE:5", "data.calibation"],
        ["FILE:6", "model.name"],
        ["FILE:7", "training.epochs"],
        ["FILE:7", "training.optimizer"],
        ["FILE:9", "budget.flops"],
        ["FILE:11", "clusters.count"],
    ]
    assert "missing key" in found[2]
    assert found[0].endswith("wrong type (given the text '3', allowed a whole number of at least 0)")
    assert found[1].endswith("did you mean 'calibration'?)")
    assert found[4].endswith("unknown value (given 'sdg', allowed 'sgd' or 'adamw'; did you mean 'sgd'?)")
    assert found[5].endswith("out of range (given 1, allowed a number above 0 and below 1 or null)")


@pytest.mark.parametrize("flops", ["0", "1", "1.5", "-0.5", ".nan", ".inf"])
def test_impossible_budgets(write, flops):
    (line,) = mistakes_of(write(GOOD.replace("flops: 0.5", f"flops: {flops}")))
    assert line.startswith("FILE:7: budget.flops: out of range")


@pytest.mark.parametrize(
    ("budget", "given"),
    [("min_keep: 0.2", "given none"), ("{flops: 0.5, params: 0.5}", "given flops and params")],
)
def test_none_or_two_kinds_of_budget(write, budget, given):
    (line,) = mistakes_of(write(GOOD.replace("flops: 0.5", budget)))
    assert line.startswith("FILE:6: budget: a budget has exactly one kind")
    assert given in line


def test_a_key_of_another_section_is_pointed_there(write):
    (line,) = mistakes_of(write(GOOD + "population: 12\n"))
    assert line.endswith("did you mean 'search.population'?)")


def test_duplicate_keys_at_every_depth(write):
    file = write(GOOD + "seed: 1\nsearch:\n  elite: 1\n  elite: 2\nseed: 2\n")
    assert mistakes_of(file) == [
        "FILE:11: search.elite: key given twice (first in line 10)",
        "FILE:12: seed: key given twice (first in line 8)",
    ]


def test_keys_that_are_no_texts(write):
    found = mistakes_of(write(GOOD + "on: 1\nsearch: {3: 4}\n"))
    assert found[0] == "FILE:8: on: keys are texts (given on; put it in quotes)"
    assert found[1].startswith("FILE:9: search.3: keys are texts")
    with pytest.raises(ConfigError, match=r"space: 1: keys are texts"):
        space_from_dict({1: 2})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [1, 2\nseed: 3\n", "FILE:2: not valid YAML"),
        ("name: x\n\tseed: 3\n", "FILE:2: not valid YAML"),
        ("a: !!python/object:os.system x\n", "FILE:1: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "FILE:2: not valid YAML"),
        ("when: 2021-13-45\n", "FILE: not valid YAML"),
        ("", "FILE: a space file is a mapping of keys (given: empty)"),
        ("- 1\n", "FILE: a space file is a mapping of keys (given: a list)"),
        ("a: " + "[" * 3000, "FILE: not valid YAML: nested too deeply"),
    ],
)
def test_texts_that_are_no_space(write, text, expected):
    (line,) = mistakes_of(write(text))
    assert line.startswith(expected)


def test_missing_file_names_the_nearest(write):
    file = write(GOOD)
    with pytest.raises(ConfigError, match=r"no such space file; did you mean '.*space\.yaml'"):
        load_space(file.with_name("spaces.yaml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_space(file.parent)


def test_lists_name_the_item(write):
    (line,) = mistakes_of(write(GOOD + "criteria:\n- l1\n- 2\n"))
    assert line == "FILE:10: criteria.1: wrong type (given the number 2, allowed a text)"
    (line,) = mistakes_of(write(GOOD + "criteria: [l1, l2, l1]\n"))
    assert line == "FILE:8: criteria: named more than once: l1"
    (line,) = mistakes_of(write(GOOD + "criteria: l1\n"))
    assert "allowed 'all' or a list of names" in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "override seed: an override is written key=value"),
        ("a..b=1", "override a..b=1: an override is written key=value"),
        ("seed=[", "override seed=[: seed: the value is not valid YAML"),
        ("seed.x=1", "override seed.x=1: seed.x: this key lies inside a value that is no mapping"),
        ("search.populaton=3", "override search.populaton=3: search.populaton: unknown key"),
        ("search.elite=30", "override search.elite=30: search: elite must be below population"),
        ("budget.params=0.5", "override budget.params=0.5: budget: a budget has exactly one kind"),
        ("name=my run", "override name=my run: name: not allowed (given 'my run'"),
        ("model.arguments={1: 2}", "override model.arguments={1: 2}: model.arguments.1: keys are texts"),
        ("training.momentum=0", "override training.momentum=0: training: nesterov needs a momentum above 0"),
        (
            "data={name: digits, mean: [0.5], std: [1, 1]}",
            "override data={name: digits, mean: [0.5], std: [1, 1]}: ",
        ),
    ],
)
def test_mistakes_of_overrides(write, override, expected):
    (line,) = mistakes_of(write(GOOD + "seed: 1\n"), override)
    assert line.startswith(expected)


def test_merge_keys_and_anchors(write):
    text = GOOD.replace("\ntraining: {", "\ntraining: &run {").replace("retraining: {", "retraining: {<<: *run, ")
    space = load_space(write(text))
    assert space.retraining.lr == space.training.lr
    assert space.retraining.epochs == 0.5


def test_models_are_frozen_and_strict():
    with pytest.raises(ValueError, match="frozen"):
        TrainingConfig(epochs=1).epochs = 2
    with pytest.raises(ValueError, match="valid number"):
        TrainingConfig(epochs="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exactly one kind"):
        BudgetConfig()


def test_key_paths_reach_the_inner_keys():
    paths = list(key_paths(Space))
    assert ("data", "augmentation", "flip") in paths
    assert ("retraining", "seeds") in paths


def test_a_section_that_may_be_null_is_turned_on_by_any_of_its_keys(write):
    space = load_space(write(GOOD), ["retraining.distillation.weight=0.3", "retraining.early_stop={}"])
    assert space.retraining.distillation.model_dump() == {"weight": 0.3, "temperature": 4.0}
    assert space.retraining.early_stop.model_dump() == {"patience": 5, "min_delta": 0.0}
    assert (space.training.distillation, space.training.early_stop) == (None, None)
    assert load_space(write(space.to_yaml())) == space


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("distillation.weight=0", "retraining.distillation.weight: out of range (given 0, allowed a number above 0"),
        ("distillation.heat=4", "retraining.distillation.heat: unknown key (allowed weight, temperature"),
        ("early_stop=true", "retraining.early_stop: wrong type (given true, allowed a mapping or null)"),
        ("early_stop.patience=0", "retraining.early_stop.patience: out of range (given 0, allowed a whole number of"),
        ("early_stop.min_delta=1", "retraining.early_stop.min_delta: out of range"),
    ],
)
def test_mistakes_inside_a_section_that_may_be_null(write, override, expected):
    (line,) = mistakes_of(write(GOOD), f"retraining.{override}")
    assert expected in line


def test_five_lines_make_a_space(tmp_path):
    file = tmp_path / "my photos (2).yaml"
    file.write_text("data: {root: photos}\nmodel:\n  name: torchvision:resnet18\n  weights: mine.pt\n")
    space = load_space(file)
    assert (space.name, space.data.name, space.budget.ratios) == ("my-photos-2", "folder", {"flops": 0.5})
    assert (space.training.epochs, space.retraining.epochs, space.compensation) == (0, 10, None)
    assert load_space(file, ["training.epochs=3"]).training.epochs == 3
    assert load_space(file, ["model.weights=null"]).training.epochs == 20
    assert load_space(file, ["budget.params=0.3", "name=other"]).budget.ratios == {"params": 0.3}
    again = tmp_path / "again.yaml"
    again.write_text(space.to_yaml())
    assert load_space(again) == space


@pytest.mark.parametrize(
    ("data", "name"),
    [({"name": "digits"}, "digits"), ({"root": "/my/photos 1"}, "photos-1"), ({"name": "mnist", "root": "x"}, "mnist")],
)
def test_a_space_without_a_file_is_named_after_its_data(data, name):
    assert space_from_dict({"data": data, "model": {"name": "conv4"}}).name == name


def test_nothing_is_trained_where_weights_are_given_only_if_nobody_says():
    given = {"data": {"name": "digits"}, "model": {"name": "conv4", "weights": "x.pt"}}
    assert space_from_dict({**given, "training": {"lr": 0.1}}).training.epochs == 0
    assert space_from_dict({**given, "training": {"epochs": 4}}).training.epochs == 4


@pytest.mark.parametrize("key", ["training.epochs", "retraining.epochs", "training.warmup_epochs"])
def test_epochs_without_end_are_out_of_range(write, key):
    with pytest.raises(
        ConfigError, match=rf"{key}: out of range .*allowed a number of at least 0 and at most 1,?000,?000"
    ):
        load_space(write(GOOD), [f"{key}=1e308"])
