"""A recipe fills what a space does not give, and nothing else; its settings are valid and read again as they are."""

from __future__ import annotations

import pytest
from config_files import GOOD, mistakes_of

from blendsearch.config import CompensationConfig, NamedSection, load_space, space_from_dict
from blendsearch.config.recipes import RECIPES, filled
from blendsearch.validation.space import checked_from_dict, load_checked

BARE = {"name": "bare", "data": {"name": "digits"}, "model": {"name": "conv4"}}


def space(**changes):
    return checked_from_dict({**BARE, "recipe": "post_training", **changes})


def test_a_space_without_a_recipe_is_left_as_it_is():
    assert filled(BARE) == BARE
    assert checked_from_dict(BARE) == checked_from_dict({**BARE, "recipe": None})


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_what_one_would_write(name):
    written = {**BARE, **RECIPES[name]}
    assert checked_from_dict({**BARE, "recipe": name}).to_dict() == {
        **checked_from_dict(written).to_dict(),
        "recipe": name,
    }


def test_post_training():
    found = space()
    assert (found.retraining.epochs, found.compensation) == (0, CompensationConfig(images=None))
    assert found.search.chosen == NamedSection(name="cma_es", sigma=0.15)
    assert (found.allocation.name, found.proxy.name, found.blend.units) == ("evolved", "agreement", ("network",))
    assert (found.search.reallocation, found.search.swaps) == (40, 60)
    assert found.data == checked_from_dict(BARE).data


def test_what_is_given_counts_key_by_key():
    found = space(search={"population": 20, "algorithm": {"sigma": 0.3}}, criteria=["l1"], allocation="uniform")
    assert (found.search.population, found.search.generations) == (20, 60)
    assert found.search.chosen == NamedSection(name="cma_es", sigma=0.3)
    assert (found.criteria, found.allocation.name) == (["l1"], "uniform")
    assert space(retraining={"epochs": 2, "batch_size": 32}).compensation is None


@pytest.mark.parametrize(
    ("changes", "read", "expected"),
    [
        ({"proxy": {"name": "compensated", "images": 9}}, "proxy", NamedSection(name="compensated", images=9)),
        (
            {"proxy": {"name": "agreement", "images": 9}},
            "proxy",
            NamedSection(name="agreement", images=9, positions=20_000),
        ),
        (
            {"proxy": {"images": 9, "name": "agreement"}},
            "proxy",
            NamedSection(name="agreement", images=9, positions=20_000),
        ),
        ({"search": {"limit": {"seconds": 9}}}, "search.limit.evaluations", None),
        ({"search": {"limit": None}}, "search.limit", None),
        ({"search": {"layer_by_layer": None, "rivals": False}}, "search.layer_by_layer", None),
        ({"search": {"algorithm": "generational"}}, "search.algorithm", NamedSection(name="generational")),
        ({"search": {"backend": "optuna"}}, "search.chosen", NamedSection(name="tpe")),
        ({"compensation": None}, "compensation", None),
    ],
)
def test_what_names_something_else_or_is_null_stays(changes, read, expected):
    found = space(**changes)
    for key in read.split("."):
        found = getattr(found, key)
    assert found == expected


def test_overrides_come_after_the_recipe_wherever_it_is_named(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(GOOD)
    with_recipe = load_checked(file, ["proxy.images=77", "recipe=post_training", "retraining.epochs=0"])
    assert with_recipe.proxy == NamedSection(name="agreement", images=77, positions=20_000)
    assert with_recipe.allocation.name == "evolved"
    file.write_text(GOOD + "recipe: post_training\n")
    assert load_checked(file, ["proxy.images=77"]).retraining.epochs == 0.5
    assert load_checked(file, ["search.algorithm.sigma=0.4"]).search.chosen == NamedSection(name="cma_es", sigma=0.4)
    assert load_checked(file, ["search.algorithm.name=tpe"]).search.chosen == NamedSection(name="tpe")
    assert load_checked(file, ["search.limit.seconds=60"]).search.limit.evaluations is None
    assert load_checked(file, ["search.backend=optuna"]).search.chosen == NamedSection(name="tpe")
    assert load_checked(file, ["recipe=null"]).allocation.name == "uniform"


def test_what_it_makes_is_shown_and_read_again(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(space(search={"limit": None}).to_yaml())
    assert load_space(file) == space(search={"limit": None})
    assert space_from_dict(space().to_dict()) == space()


def test_another_name_is_one_line(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(GOOD + "recipe: post_trainin\n")
    assert mistakes_of(file) == [
        "FILE:8: recipe: unknown value (given 'post_trainin', allowed 'post_training' or null; "
        "did you mean 'post_training'?)"
    ]


def test_what_means_nothing_beside_the_given_keys_is_left_out():
    plain = space(blend={"set_aware": False})
    assert (plain.search.layer_by_layer, plain.search.rivals) == (None, ["mean_of_ranks", "hesso"])
    front = space(search={"objectives": ["flops"], "lowest": 0.1})
    assert (front.search.chosen.name, front.search.layer_by_layer) == ("nsga2", None)
    assert (front.search.reallocation, front.search.swaps) == (None, None)
    assert space(allocation="uniform").search.reallocation is None
    assert space(allocation={"name": "evolved", "start": ["uniform"]}).search.reallocation == 40
    staged = space(schedule="iterative", retraining={"epochs": 1}).search
    assert (staged.layer_by_layer, staged.reallocation, staged.swaps) == (None, None, None)
    judged_otherwise = space(proxy="compensated").search
    assert (judged_otherwise.reallocation, judged_otherwise.swaps) == (None, 60)
    assert "elimination" not in space(search={"layer_by_layer": None}).search.rivals


def test_peoples_marks_are_among_its_criteria(tmp_path):
    file = tmp_path / "ratings.json"
    file.write_text('{"schema": 1, "groups": {"conv1": {"0": "keep"}}}')
    assert space(ratings=str(file)).criteria == [*RECIPES["post_training"]["criteria"], "subjective"]
