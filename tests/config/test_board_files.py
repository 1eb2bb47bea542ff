"""The board file: defaults, overrides and mistakes; a board is no space, and the other way round."""

from __future__ import annotations

import pytest
from config_files import BOARD, GOOD, lines_of, mistakes_of

from blendsearch.config import board_from_dict, is_board, load_board, load_space, space_from_dict
from blendsearch.errors import ConfigError


def test_a_board_has_defaults_and_overrides_that_count_the_items_of_lists(write):
    file = write(BOARD + "blends: [runs/some/blend.json, {file: other.json, name: mine}, plain.json]\n")
    board = load_board(file, ["networks.0.training.epochs=3", "budgets.1.params=0.3", "networks.0.model.arguments.x=1"])
    assert (board.criteria, [one.name for one in board.allocations]) == ("all", ["uniform"])
    assert [one.name for one in board.schedules] == ["one_shot"]
    assert board.networks[0].training.epochs == 3
    assert board.networks[0].model.arguments == {"x": 1}
    assert [(one.kind, one.ratio) for one in board.budgets] == [("flops", 0.5), ("params", 0.3)]
    assert [blend.label for blend in board.blends] == ["some", "mine", "plain"]
    assert load_board(write(board.to_yaml())) == board
    assert board_from_dict(board.to_dict()) == board
    space = board.space(board.networks[0])
    assert (space.budget, space.training) == (board.budgets[0], board.networks[0].training)
    assert is_board(file)
    assert not is_board(write(GOOD))


def test_every_mistake_of_a_board_has_its_line(write):
    file = write(BOARD.replace("epochs: 1}", "epochz: 1}").replace("- flops: 0.5", "- flops: 1.5") + "seeds: 3\n")
    with pytest.raises(ConfigError) as error:
        load_board(file, ["networks.3.name=x"])
    found = lines_of(error, file)
    assert [line.split(": ")[:2] for line in found] == [
        ["FILE:6", "networks.0.training.epochz"],
        ["FILE:8", "budgets.0.flops"],
        ["FILE:11", "seeds"],
        ["override networks.3.name=x", "networks.3.name"],
    ]
    assert found[0].endswith("did you mean 'epochs'?)")
    assert found[2].endswith("did you mean 'retraining.seeds'?)")


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("allocations: [uniform, uniform]\n", "allocations: given more than once: name: uniform"),
        ("blends: [a/x.json, b/x.json]\n", "blends: given more than once: x"),
        ("allocations: []\n", "allocations: not allowed (given [], allowed a list, each a name or a mapping"),
    ],
)
def test_lists_of_a_board_hold_something_and_each_once(write, extra, expected):
    with pytest.raises(ConfigError) as error:
        load_board(write(BOARD + extra))
    assert expected in str(error.value)


def test_a_missing_board_is_called_a_board(tmp_path):
    with pytest.raises(ConfigError, match="no such board file"):
        load_board(tmp_path / "none.yaml")


def test_a_board_is_no_space_and_the_message_says_where_it_goes(write):
    file = write(BOARD + "searhc: {}\n")  # its own mistakes are not the matter
    (line,) = mistakes_of(file, "sed=3")
    assert line == "FILE: a board (it has 'networks') given, a space expected; 'blendsearch leaderboard' takes boards"
    with pytest.raises(ConfigError, match=r"^space: a board \(it has 'networks'\) given, a space expected"):
        space_from_dict(load_board(write(BOARD)).to_dict())


def test_a_space_is_no_board_and_the_message_says_where_it_goes(write):
    file = write(GOOD + "searhc: {}\n")
    with pytest.raises(ConfigError) as error:
        load_board(file, ["sed=3"])
    (line,) = lines_of(error, file)
    assert line == (
        "FILE: a space (it has 'data' and no 'networks') given, a board expected; "
        "'blendsearch search' and other commands take spaces"
    )
    with pytest.raises(ConfigError, match=r"^board: a space \(it has 'data' and no 'networks'\) given"):
        board_from_dict(load_space(write(GOOD)).to_dict())


def test_a_board_without_networks_is_a_board_with_a_mistake(write):
    with pytest.raises(ConfigError, match="networks: missing key"):
        load_board(write("name: board\nbudgets: [{flops: 0.5}]\nretraining: {epochs: 1}\n"))


def test_a_board_needs_its_networks_alone(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("networks: [{name: a, data: {name: digits}, model: {name: conv4, weights: x.pt}}]\n")
    board = load_board(file)
    assert (board.name, board.budgets[0].ratios, board.networks[0].training.epochs) == ("mine", {"flops": 0.5}, 0)
    assert board.space(board.networks[0]).training.epochs == 0
