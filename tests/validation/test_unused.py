"""Options that would do nothing are told, one clear line each; those a command line leaves over are not."""

from __future__ import annotations

import pytest

from blendsearch.proxies import PROXIES
from blendsearch.validation.space import mistakes_in_names

AVERAGE = {"name": "average", "proxies": ["zero_shot", "agreement"]}
TURNED = {"name": "average", "proxies": [{"name": "agreement"}, "zero_shot"]}


@pytest.mark.parametrize(
    ("data", "where", "words"),
    [
        ({"search": {"lowest": 0.1}}, "search.lowest", "0.1 given, but only a search with objectives"),
        ({"search": {"rivals": ["hesso", "tilted"]}}, "search.rivals.1", "there is none without blend.set_aware: true"),
        ({"search": {"rivals": ["swapped"]}}, "search.rivals.0", "there is none without search.swaps"),
        ({"search": {"rivals": ["elimination"], "swaps": 3}}, "search.rivals.0", "without search.layer_by_layer"),
        (
            {"audit": {"proxies": [AVERAGE, TURNED]}},
            "audit.proxies.1",
            "'average' with the same options is named before",
        ),
        (
            {"audit": {"proxies": ["zero_shot", "agreement", {"name": "zero_shot"}]}},
            "audit.proxies.2",
            "'zero_shot' with the same options is named before",
        ),
    ],
)
def test_an_option_that_does_nothing_is_one_line(data, where, words):
    ((path, what),) = mistakes_in_names(data)
    assert ".".join(map(str, path)) == where
    assert words in what
    assert "\n" not in what


@pytest.mark.parametrize(
    "data",
    [
        {"search": {"lowest": None, "backend": None, "algorithm": None}},
        {"audit": {"proxies": ["zero_shot", {"name": "zero_shot", "search_images": 50}]}},
        {"audit": {"proxies": "zero_shot"}, "search": {"algorithm": 3, "rivals": [["tilted"]]}, "proxy": 3},
        {"search": {"rivals": ["tilted", "swapped"], "swaps": 4}, "blend": {"set_aware": True}},
    ],
)
def test_what_is_of_use_is_let_be(data):
    assert not list(mistakes_in_names(data))


def test_proxies_of_an_audit_are_known():
    proxies = ["zero_shott", {"name": "compensated", "image": 3}, {"name": "zero_shot", "search_images": 0}]
    found = dict(mistakes_in_names({"audit": {"proxies": proxies}}))
    assert found[("audit", "proxies", 0)].startswith("unknown proxy 'zero_shott'; did you mean 'zero_shot'")
    assert found[("audit", "proxies", 1, "image")].startswith("unknown option of proxy 'compensated'")
    assert found[("audit", "proxies", 2, "search_images")].startswith("0 given")
    assert len(found) == 3


@pytest.mark.parametrize("name", PROXIES.names())
def test_a_proxy_is_the_same_as_another_with_its_options(name):
    proxy = PROXIES.get(name)
    assert proxy().same_as(proxy())
    assert not any(proxy().same_as(PROXIES.get(other)()) for other in PROXIES.names() if other != name)
