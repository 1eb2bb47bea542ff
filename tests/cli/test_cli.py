"""The command line, with stand-ins for the campaigns it calls."""

from __future__ import annotations

import io
import subprocess
import sys
import types
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from blendsearch.cli import app, comparisons, tables
from blendsearch.errors import RunError
from blendsearch.results.records.common import Averages, UnprunedRecord
from blendsearch.results.records.search import SearchSummary
from blendsearch.results.records.single import PruneSummary, ScoreSummary, TrainSummary
from blendsearch.validation.catalogue import catalogue
from blendsearch.version import __version__

GOOD = """\
name: small
data: {name: digits}
model: {name: conv4}
training: {epochs: 1}
retraining: {epochs: 1}
budget: {flops: 0.5}
"""
RESULT = {
    "search_accuracy": 0.79,
    "test_accuracy": 0.784,
    "test_accuracy_std": 0.0013,
    "flops_ratio": 0.499,
    "params_ratio": 0.52,
}
SENTENCE = "The blend beats fisher by 0.50 points [0.2, 0.8] on 3 paired seeds."
SUMMARY = SearchSummary.model_validate(
    {
        "name": "small",
        "seed": 0,
        "seeds": 3,
        "budget": {"kind": "flops", "ratio": 0.5},
        "baseline": {"test_accuracy": 0.97},
        "blend": RESULT,
        "criteria": {"l1": {**RESULT, "test_accuracy": 0.7}, "fisher": {**RESULT, "test_accuracy_std": None}},
        "comparison": {"best_criterion": "fisher", "difference": 0.005, "verdict": "beats", "sentence": SENTENCE},
        "seconds": {"train": 12.31, "search": 100.0, "total": 3725.0},
    }
)


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A valid space file in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(GOOD)
    return "space.yaml"


@pytest.fixture
def stand_in(monkeypatch):
    """Put a module with the given functions in the place of one of ours, and note their calls."""
    calls: list[tuple] = []

    def put(module: str, **functions):
        fake = types.ModuleType(f"blendsearch.{module}")
        for name, function in functions.items():

            def noted(*given, function=function, **named):
                calls.append((*given, *named.values()))
                return function(*calls[-1])

            setattr(fake, name, noted)
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
        return calls

    return put


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def done(summary):
    return types.SimpleNamespace(run_dir=Path("runs/small"), summary=summary)


def campaign(*given):
    given[-1]("search", 1, 1, "best 0.8")
    return types.SimpleNamespace(run_dir=Path("runs/small"), summary=SUMMARY, report=Path("runs/small/report.html"))


def fails_with(error: BaseException):
    def fail(*given):
        raise error

    return fail


def test_search_prints_table_verdict_times_and_report(space, stand_in):
    calls = stand_in("campaigns.search.run", run_search=campaign)
    result = run("search", space, "seed=3", "--run-dir", "here", "search.population=12", "--resume")
    assert result.exit_code == 0, result.output
    settings, run_dir, resume, _ = calls[0]
    assert (settings.seed, settings.search.population, run_dir, resume) == (3, 12, Path("here"), True)
    lines = result.stdout.splitlines()
    assert "search 1/1" in lines[0]
    rows = [line.split("  ")[0].strip() for line in lines]
    assert rows.index("not pruned") < rows.index("blend") < rows.index("fisher") < rows.index("l1")
    assert "78.40 % ± 0.13" in result.stdout
    assert SENTENCE in lines
    assert "train 12.3 s, search 1 min 40 s, total 1 h 2 min" in lines
    assert f"report: {Path('runs/small/report.html')}" in lines


def test_quiet_search_prints_nothing(space, stand_in):
    stand_in("campaigns.search.run", run_search=campaign)
    result = run("search", space, "-q")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["-q"]])
def test_wrong_input_is_its_message_and_exit_code_2(space, stand_in, arguments):
    stand_in("campaigns.search.run", run_search=fails_with(RunError("runs/small: exists; continue with --resume")))
    result = run("search", space, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "runs/small: exists; continue with --resume\n"


def test_mistakes_of_a_space_file_are_told_without_starting(space):
    result = run("search", space, "sed=3", "budget.flops=2")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert run("train", "no_such.yaml").stderr.startswith("no_such.yaml: no such space file")


def test_a_file_of_the_other_kind_is_one_line(space):
    Path("board.yaml").write_text("name: board\nnetworks: []\nbudgets: []\n")
    for command in ("search", "train", "score", "audit", "curves", "sensitivity", "review"):
        result = run(command, "board.yaml", "sed=3")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            "board.yaml: a board (it has 'networks') given, a space expected; 'blendsearch leaderboard' takes boards\n"
        )
    result = run("leaderboard", space)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("space.yaml: a space (it has 'data' and no 'networks') given, a board expected; ")


def test_interrupt_says_how_to_continue(space, stand_in):
    def stopped(*given):
        Path("my run").mkdir()
        Path("my run/.lock").touch()
        raise KeyboardInterrupt

    stand_in("campaigns.search.run", run_search=stopped)
    result = run("search", space, "criteria=[l1, l2]", "--run-dir", "my run")
    assert result.exit_code == 130
    command = "blendsearch search space.yaml 'criteria=[l1, l2]' --run-dir 'my run' --resume"
    assert result.stderr == f"stopped; continue with: {command}\n"
    stand_in("campaigns.single", run_train=fails_with(KeyboardInterrupt()))
    result = run("train", space)
    assert result.exit_code == 130
    assert result.stderr == "stopped before anything was written; start again with: blendsearch train space.yaml\n"
    result = run("train", space, "--resume")
    assert result.stderr == "stopped; continue with: blendsearch train space.yaml --resume\n"


def test_images_kept_beside_the_runs_are_nothing_to_continue(space, stand_in):
    def stopped(*given):
        Path("runs/.cache").mkdir(parents=True)
        raise KeyboardInterrupt

    stand_in("campaigns.single", run_train=stopped)
    told = run("train", space).stderr
    assert told == "stopped before anything was written; start again with: blendsearch train space.yaml\n"


def test_other_exceptions_propagate(space, stand_in, monkeypatch):
    monkeypatch.setattr("blendsearch.cli.session.own_place", lambda error: None)  # as of code of ours alone
    stand_in("campaigns.search.run", run_search=fails_with(ZeroDivisionError()))
    assert isinstance(run("search", space).exception, ZeroDivisionError)


def test_train(space, stand_in):
    found = TrainSummary(
        name="small",
        test_accuracy=0.975,
        search_accuracy=0.97,
        flops=1234567,
        params=9876,
        seconds=3,
        steps=1480,
        seed=0,
        versions={},
    )
    stand_in("campaigns.single", run_train=lambda *given: done(found))
    result = run("train", space)
    assert result.exit_code == 0
    assert all(text in result.stdout for text in ("97.50 %", "1,480", "1,234,567", "9,876", "3.00 s", "runs"))


def test_score_is_not_cut_when_piped(space, stand_in):
    names = [f"a_criterion_with_a_long_name_{number}" for number in range(14)]
    found = ScoreSummary(
        criteria=[{"name": name, "family": "weights", "mean_agreement": 0.5, "nearest": names[0]} for name in names],
        agreement={"criteria": names, "groups": {}, "mean": [[-0.25] * 14] * 14},
        clusters={"stage1": [names[:7], names[7:]]},
    )
    stand_in("campaigns.single", run_score=lambda *given: done(found))
    result = run("score", space)
    assert result.exit_code == 0
    assert "…" not in result.stdout
    assert any(all(name in line for name in names) for line in result.stdout.splitlines())
    assert result.stdout.count("-25") == 14 * 14


def extremes(criteria, groups):
    return [
        {"criterion": name, "group": f"conv{n}", "width": 16, "top": [7, 3], "bottom": [5, 11]}
        for name in criteria
        for n in range(groups)
    ]


@pytest.mark.parametrize(
    ("criteria", "groups", "titles"),
    [
        (["l1"], 4, ["filters by each criterion"]),
        (["l1", "taylor"], 20, ["filters by the mean of all ranks", "filters by each criterion"]),
        (["l1", "taylor", "fpgm"], 20, ["filters by the mean of all ranks"]),
    ],
)
def test_score_shows_the_filters_that_stand_out_in_a_bearable_form(space, stand_in, criteria, groups, titles):
    found = ScoreSummary(
        criteria=[],
        agreement={"criteria": criteria, "groups": {}, "mean": [[1.0] * len(criteria)] * len(criteria)},
        clusters={},
        filters=extremes([None, *criteria], groups),
        left_out={"bn_scale": "it has no norm"},
    )
    stand_in("campaigns.single", run_score=lambda *given: done(found))
    printed = run("score", space).stdout
    assert [line for line in map(str.strip, printed.splitlines()) if line.startswith("filters by")] == titles
    assert "7 3" in printed
    assert "5 11" in printed
    assert "left out: bn_scale: it has no norm" in printed
    assert f"all scores: {Path('runs/small/scores.csv')}" in printed


def test_prune(space, stand_in):
    found = PruneSummary(
        name="l1",
        unpruned={"test_accuracy": 0.97},
        pruned={"test_accuracy": 0.9, "search_accuracy": 0.9, "flops_ratio": 0.5, "params_ratio": 0.4},
        kept={"features.0": (8, 16)},
        seed=0,
        versions={},
    )
    calls = stand_in("campaigns.single", run_prune=lambda *given: done(found))
    result = run("prune", space, "--by", "l1", "budget.flops=0.4")
    assert result.exit_code == 0
    assert (calls[0][1], calls[0][0].budget.flops) == ("l1", 0.4)
    assert "features.0" in result.stdout
    assert "█" * 10 in result.stdout
    assert run("prune", space).exit_code == 2


def test_report(stand_in):
    stand_in("reports.report", write_report=lambda run_dir, progress: run_dir / "report.html")
    assert run("report", "runs/small").stdout.strip() == f"report: {Path('runs/small/report.html')}"
    stand_in("reports.report", write_report=fails_with(RunError("runs/small: no such run folder")))
    assert run("report", "runs/small").exit_code == 2


def test_list(stand_in):
    rows = [
        {"name": "l1", "needs": {"weights"}, "source": "Li [2017] " + "x" * 300},
        {"name": "bn", "family": None},
    ]
    calls = stand_in("validation.catalogue", catalogue=lambda kind: rows)
    result = run("list", "criteria")
    assert result.exit_code == 0
    assert "l1" in result.stdout
    assert max(map(len, result.stdout.splitlines())) < 120
    full = run("list", "criteria", "--details").stdout
    assert all(text in full for text in ("l1", "weights", "Li [2017] " + "x" * 300))
    run("list")
    assert len(calls) == 2 + 7
    wrong = run("list", "criterai")
    assert wrong.exit_code == 2
    assert "did you mean 'criteria'?" in wrong.stderr


@pytest.mark.parametrize("option", [[], ["--quick"]])
def test_validate_prints_a_space_that_is_valid(space, option):
    settings = ["data.search=60", "data.calibration=40", "criteria=[l1]", "search.population=4", "proxy=zero_shot"]
    result = run("validate", space, *option, "seed=7", *settings)
    assert (result.stdout.splitlines()[-1].startswith("# OK: 10 classes, 1,797 images, ")) == (not option)
    Path(space).write_text(result.stdout)
    again = run("validate", space, *option)
    assert "seed: 7" in again.stdout, again.output
    assert run("validate", space, "-q", *option).output == ""


def test_version():
    assert run("--version").stdout == f"blendsearch {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        "search",
        "train",
        "score",
        "prune",
        "sensitivity",
        "leaderboard",
        "transfer",
        "report",
        "list",
        "validate",
        "init",
    ],
)
def test_every_help_has_an_example(command):
    assert f"Example: blendsearch {command} " in run(command, "--help").stdout


def test_the_package_runs_as_a_module():
    for words, expected in ((["--version"], f"blendsearch {__version__}\n"), (["list", "schedules"], "one_shot")):
        typed = [sys.executable, "-m", "blendsearch", *words]
        result = subprocess.run(typed, check=True, capture_output=True, text=True)
        assert expected in result.stdout


def test_command_line_starts_without_torch():
    code = "import sys, blendsearch.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_words_for_times():
    assert [tables.duration(seconds) for seconds in (0.421, 59.97, 3800)] == [
        "0.42 s",
        "1 min 0 s",
        "1 h 3 min",
    ]


def test_the_accuracy_before_retraining_has_a_column_where_it_is_known():
    unpruned = UnprunedRecord(test_accuracy=0.9)
    plain = Averages(search_accuracy=0.8, test_accuracy=0.7, flops_ratio=0.5, params_ratio=0.4)
    known = plain.model_copy(update={"pruned_test_accuracy": 0.1234})
    for pruned, cells in ((plain, []), (known, ["12.34 %"])):
        summary = PruneSummary(name="l1", unpruned=unpruned, pruned=pruned, kept={}, seed=0, versions={})
        table = tables.pruned_table(summary)
        rows = list(zip(*(column.cells for column in table.columns), strict=True))
        assert rows[1] == ("pruned", "70.00 %", *cells, "50.00 %", "40.00 %")
        assert len(rows[0]) == len(rows[1])


def test_validate_says_that_compensation_is_on_where_nothing_is_retrained(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(GOOD.replace("name: digits", "name: digits, calibration: 40, search: 40") + "criteria: [l1]\n")
    said = "# compensation is on, since nothing is retrained; compensation: null switches it off"

    def shown(*keys: str) -> str:
        return CliRunner().invoke(app, ["validate", str(file), "proxy=zero_shot", "training.epochs=0", *keys]).output

    on = shown("retraining.epochs=0")
    assert said in " ".join(on.split())
    assert "compensation:\n  images: null" in on
    assert said not in " ".join(shown("retraining.epochs=0", "compensation=null").split())


def test_a_leaderboard_says_how_many_cells_it_ran():
    assert comparisons.cells_line(8, 8) == "all 8 cells run"
    assert comparisons.cells_line(3, 8) == "3 of 8 cells run, the others were there"
    assert comparisons.cells_line(7, 8) == "7 of 8 cells run, the other was there"
    assert comparisons.cells_line(0, 8) == "none of 8 cells run, the others were there"


def test_a_list_fits_a_narrow_terminal_and_a_pipe():
    for kind in ("criteria", "algorithms", "models"):
        table = tables.entries_table(kind, catalogue(kind))
        out = io.StringIO()
        Console(file=out, width=80).print(table)
        lines = out.getvalue().splitlines()
        assert max(map(len, lines)) <= 80
        assert all(any(line.split()[:1] == [row["name"]] for line in lines) for row in catalogue(kind))
    assert max(map(len, run("list", "criteria").stdout.splitlines())) < 180
