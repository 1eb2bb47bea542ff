"""Options of allocations, proxies and schedules: a wrong type is told in words before any work."""

from __future__ import annotations

import pytest

from blendsearch.errors import ConfigError
from blendsearch.validation.space import checked_from_dict

SPACE = {
    "name": "options",
    "data": {"name": "digits"},
    "model": {"name": "conv4"},
    "training": {"epochs": 0},
    "budget": {"flops": 0.5},
    "retraining": {"epochs": 0},
}


def mistake(**changes):
    with pytest.raises(ConfigError) as error:
        checked_from_dict({**SPACE, **changes})
    return str(error.value)


@pytest.mark.parametrize(
    ("section", "options", "expected"),
    [
        ("schedule", {"name": "iterative", "steps": 2.5}, "schedule.steps: 2.5 given, a whole number expected"),
        ("schedule", {"name": "iterative", "steps": "abc"}, "schedule.steps: 'abc' given, a whole number expected"),
        ("schedule", {"name": "progressive", "final": True}, "schedule.final: True given, a number expected"),
        ("allocation", {"name": "sensitivity", "draws": 2.5}, "allocation.draws: 2.5 given, a whole number expected"),
        ("allocation", {"name": "sensitivity", "strengths": 0.5}, "allocation.strengths: 0.5 given, a list expected"),
        ("allocation", {"name": "sensitivity", "strengths": ["a"]}, "a list with a number in each place expected"),
        ("allocation", {"name": "evolved", "start": "uniform"}, "allocation.start: 'uniform' given, a list expected"),
        ("proxy", {"name": "compensated", "images": "abc"}, "proxy.images: 'abc' given, a whole number expected"),
    ],
)
def test_wrong_types_are_told_in_words(section, options, expected):
    message = mistake(**{section: options})
    assert expected in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_finite_number_is_no_number(value):
    for changes, key in (
        ({"proxy": {"name": "compensated", "ridge": value}}, "proxy.ridge"),
        ({"proxy": {"name": "short_finetune", "lr_share": value}}, "proxy.lr_share"),
        ({"allocation": {"name": "sensitivity", "contrast": value}}, "allocation.contrast"),
        ({"schedule": {"name": "iterative", "share": value}}, "schedule.share"),
    ):
        assert f"{key}: {value} given, a finite number" in mistake(**changes)
    message = mistake(allocation={"name": "sensitivity", "strengths": [0.5, value]})
    assert "a list with a finite number in each place expected" in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"images": 2.5}, "images: 2.5 given, a whole number expected"),
        ({"images": True}, "images: True given, a whole number expected"),
        ({"images": "many"}, "images: 'many' given, a whole number expected"),
        ({"images": 0}, "images: 0 given, more than 0 expected"),
        ({"ridge": float("nan")}, "ridge: nan given, a finite number expected"),
        ({"image": 3}, "image: unknown option of proxy 'agreement'; did you mean 'images'?"),
    ],
)
def test_options_of_proxies_within_an_average_are_checked_like_any(options, expected):
    proxy = {"name": "average", "proxies": ["compensated", {"name": "agreement", **options}]}
    assert f"proxy.proxies.1.{expected}" in mistake(proxy=proxy)
    assert f"audit.proxies.0.proxies.1.{expected}" in mistake(audit={"proxies": [proxy]})
    nested = {"name": "average", "proxies": ["zero_shot", proxy]}
    assert f"proxy.proxies.1.proxies.1.{expected}" in mistake(proxy=nested)


def test_an_average_of_good_proxies_is_allowed():
    proxy = {"name": "average", "proxies": ["compensated", {"name": "agreement", "images": 100}]}
    checked_from_dict({**SPACE, "proxy": proxy, "audit": {"proxies": [proxy, "zero_shot"]}})
    assert "proxy.proxies: ['compensated'] given" in mistake(proxy={"name": "average", "proxies": ["compensated"]})
    assert "proxy.proxies.1: unknown proxy 'agreemnt'" in mistake(
        proxy={"name": "average", "proxies": ["compensated", "agreemnt"]}
    )


def test_a_value_out_of_range_names_its_key_once():
    assert "proxy.images: -5 given, more than 0 expected" in mistake(proxy={"name": "compensated", "images": -5})
    assert "proxy: proxy" not in mistake(proxy={"name": "compensated", "images": -5})
    assert "allocation.start: unknown" in mistake(allocation={"name": "evolved", "start": ["unifrom"]})


def test_whole_numbers_are_numbers_and_null_is_allowed_where_it_is_a_default():
    checked_from_dict({**SPACE, "schedule": {"name": "iterative", "share": 0.1, "steps": None}})
    checked_from_dict({**SPACE, "allocation": {"name": "sensitivity", "strengths": [1, 2], "images": None}})
