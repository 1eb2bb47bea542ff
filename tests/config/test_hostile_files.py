"""Files that nobody writes by hand: refused at once, in one line, whatever they would grow to."""

import time

import pytest

from blendsearch.config.mistakes import MOST_TOLD
from blendsearch.config.reading import load_space
from blendsearch.errors import ConfigError

BASE = "data: {name: digits}\nmodel: {name: conv4}\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)


def refused(tmp_path, text, *overrides):
    file = tmp_path / "space.yaml"
    file.write_text(text)
    begun = time.process_time()
    with pytest.raises(ConfigError) as found:
        load_space(file, overrides)
    assert time.process_time() - begun < 10, "hours, were it read"
    return str(found.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE + BOMB, "more than 20,000 values (those that an alias repeats counted as often)"),
        (BASE + "".join(f"key{number}: 1\n" for number in range(20_000)), "more than 20,000 values"),
        (BASE + f"name: {'x' * 2_000_000}", "2,000,048 characters given, allowed 1,000,000"),
        (BASE + "x: " + "[" * 60 + "]" * 60, "nested more than 50 levels deep"),
        (BASE + "x: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        (BASE + "x: &x [*x]", "nested more than 50 levels deep"),
    ],
)
def test_what_would_grow_is_refused_before_anything_is_made_of_it(tmp_path, text, said):
    message = refused(tmp_path, text)
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("value", ["!!timestamp x", "!!int ''", "!!bool q", "!!float q", "!!python/object:os.system x"])
def test_values_that_are_not_of_their_tag_are_told(tmp_path, value):
    message = refused(tmp_path, BASE, f"seed={value}")
    assert message.startswith(f"override seed={value}: seed: the value is not valid YAML: ")
    assert "\n" not in message


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "1" * 4000, "-36893488147419103232"])
@pytest.mark.parametrize("key", ["seed", "data.test", "budget.keep", "model.arguments"])
def test_whole_numbers_that_nothing_counts_are_refused(tmp_path, key, number):
    value = f"{{a: {number}}}" if key in ("budget.keep", "model.arguments") else number
    message = refused(tmp_path, BASE + "budget: {flops: 0.5}\n", f"{key}={value}")
    assert "bits, allowed 64" in message or "a number of more than 1000 digits" in message
    assert "\n" not in message
    assert len(message) < 400


def test_what_is_quoted_is_shortened_and_moves_no_cursor(tmp_path):
    for text in (
        "\x1b[31m" + "x y " * 5000 + "=1",
        "seed=" + "[" + "a " * 3000,
        'compute.device="\\e[31m' + "b" * 3000 + '"',
    ):
        message = refused(tmp_path, BASE, text)
        assert "\x1b" not in message
        assert all(len(line) <= 800 for line in message.splitlines())


def test_of_very_many_mistakes_some_are_told_and_the_others_counted(tmp_path):
    lines = refused(tmp_path, BASE + "".join(f"key{number}: 1\n" for number in range(1000))).splitlines()
    assert len(lines) == MOST_TOLD + 1
    assert lines[-1].endswith(f": {1000 - MOST_TOLD} more mistakes")


def test_a_name_that_no_file_system_takes_is_refused(tmp_path):
    assert "allowed up to 100 letters" in refused(tmp_path, BASE + f"name: {'x' * 300}")
