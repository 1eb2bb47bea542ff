"""The simulation of a search on many workers, on cases small enough to work out by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulation():
    return loaded("simulate_workers")


@pytest.fixture
def outcome(simulation):
    """Simulate a way of giving out work without costs of the main process but for those given."""
    free = {"propose": 0.0, "record": 0.0, "save": 0.0, "state": 0.0, "deaths": 0.0, "rejoin": 0.0}

    def run(way, durations, **given):
        setting = {"workers": 2, "population": 2, "evaluations": len(durations), **free, **given}
        return getattr(simulation, way)(simulation.Setting(durations=durations, **setting)).run()

    return run


ONE_SLOW = (1.0, 3.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("way", "window", "seconds", "told"),
    [
        ("Generations", 1, 4.0, [0, 1, 2, 3]),  # 3 for the first two, 1 for the others
        ("Window", 1, 5.0, [0, 1, 2, 3]),  # 2 and 3 after 1, one after the other
        ("Window", 2, 4.0, [0, 1, 2, 3]),  # 2 beside 1, 3 after it
        ("Window", 3, 3.0, [0, 1, 2, 3]),  # 2 and 3 beside 1
        ("Unordered", 1, 3.0, [0, 2, 1, 3]),  # 2 and 3 beside 1; 1 was given out before 3
    ],
)
def test_a_slow_one_on_two_workers(outcome, way, window, seconds, told):
    found = outcome(way, ONE_SLOW, window=window)
    assert found.seconds == pytest.approx(seconds)
    assert found.told == told
    assert found.useful == pytest.approx(6.0)
    assert found.lost == found.deaths == 0


def test_utilisation_and_speed_up(simulation, outcome):
    setting = simulation.Setting(workers=2, population=2, evaluations=4)
    row = outcome("Generations", ONE_SLOW).row(setting)
    assert row["utilisation"] == pytest.approx(6 / 8)
    assert row["speed_up"] == pytest.approx(6 / 4)
    assert row["hours"] == pytest.approx(4 / 3600)


@pytest.mark.parametrize(
    ("way", "seconds"),
    [
        # 0.5 proposing, 1 of work, 0.25 recording and 0.1 saving, twice
        ("Generations", 3.7),
        # the first ends at 1.5; the second, proposed at 2 before the first is recorded, at 3; then 0.35
        ("Window", 3.35),
        ("Unordered", 3.35),
    ],
)
def test_the_main_process_does_one_thing_at_a_time(outcome, way, seconds):
    costs = {"propose": 0.5, "record": 0.25, "save": 0.1}
    found = outcome(way, (1.0, 1.0), workers=1, population=1, **costs)
    assert found.seconds == pytest.approx(seconds)
    assert found.main == pytest.approx({"propose": 1.0, "record": 0.5, "save": 0.2})


@pytest.mark.parametrize("way", ["Generations", "Window", "Unordered"])
def test_what_a_dead_worker_was_at_is_done_again(outcome, way):
    found = outcome(way, (1.0,), workers=1, population=1, lives=(0.5, 9.0), rejoin=2.0)
    assert found.seconds == pytest.approx(0.5 + 2.0 + 1.0)
    assert (found.deaths, found.lost, found.useful) == (1, 0.5, 1.0)
    two = outcome(way, (1.0, 1.0), lives=(0.5, 9.0, 9.0), rejoin=5.0)
    assert two.seconds == pytest.approx(2.0)  # the other worker does both
    assert sorted(two.told) == [0, 1]


def test_the_state_travels_to_one_worker_after_the_other(outcome):
    found = outcome("Generations", (1.0, 1.0), state=10.0, network=5.0)
    assert found.seconds == pytest.approx(4.0)  # the first, there after 2 s, has done both as the second comes


def test_drawn_durations_have_the_mean_that_was_asked_for_and_come_again(simulation):
    setting = simulation.Setting(workers=1, population=1, evaluations=1, seconds=60, spread=0.5, slow=0.1, times=5)
    drawn = [setting.duration(number, 0) for number in range(4000)]
    assert sum(drawn) / len(drawn) == pytest.approx(60, rel=0.05)
    assert drawn[:5] == [setting.duration(number, 0) for number in range(5)]
    assert setting.duration(0, 1) != drawn[0]


def test_all_ways_are_compared_in_a_table(simulation, monkeypatch, tmp_path, capsys):
    arguments = ["--workers", "1", "8", "--evaluations", "48", "--deaths", "2", "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["simulate_workers.py", *arguments])
    simulation.main()
    assert capsys.readouterr().out.count("\n") == 1 + 2 * 5
    rows = json.loads((tmp_path / "out.json").read_text())["8"]
    assert list(rows) == ["generations", "window 12", "window 24", "window 48", "unordered"]
    assert all(0 < row["utilisation"] <= 1 for row in rows.values())


def test_what_the_simulation_assumes_is_measured_with_the_code_that_runs(monkeypatch, tmp_path):
    place = tmp_path / "costs.json"
    arguments = ["--networks", "conv4", "--trials", "10", "--turns", "1", "--out", str(place)]
    monkeypatch.setattr(sys, "argv", ["measure_search_costs.py", *arguments])
    loaded("measure_search_costs").main()
    found = json.loads(place.read_text())
    assert 0 < found["conv4"]["plan_rank"] < found["conv4"]["plan_set_aware"]
    state = found["conv4"]["state"]
    parts = ("networks", "search_images", "calibration_images", "targets")
    assert state["bytes"] == pytest.approx(sum(state[part] for part in parts))
    assert state["search_images"] >= 1000 * 8 * 8  # uint8, and once more where they are chosen from
    assert found["record"]["10"] > 0
    assert set(found["ask_and_tell"]) == {"generational", "mu_plus_lambda", "tpe"}
