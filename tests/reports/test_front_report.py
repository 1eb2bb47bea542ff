"""The front in the report: drawn and told from summary.json and records/front.json, and absent where there is none."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from fake_run import make_run

from blendsearch.errors import RunError
from blendsearch.reports.figures import SEARCH_FIGURES
from blendsearch.reports.figures.front import draw_front
from blendsearch.reports.figures.style import LIGHT, NotDrawn
from blendsearch.reports.pages.front_table import front_table
from blendsearch.reports.report import write_report
from blendsearch.results.runs import read_search_run


def side(proxy, accuracy, share, std):
    shares = {"flops": share, "params": share + 0.01}
    return {
        "proxy": proxy, "search_accuracy": accuracy, "test_accuracy": accuracy, "test_accuracy_std": std,
        "shares": shares, "flops_ratio": share, "params_ratio": share + 0.01,
    }  # fmt: skip


def with_front(folder, costs=("flops",), std=0.004):
    """Add a front of three points to a made-up run."""
    make_run(folder)
    summary = json.loads((folder / "summary.json").read_text())
    gains = [(0.012, [0.001, 0.023]), (0.0, [-0.01, 0.01]), (-0.01, [-0.015, -0.005])]
    summary["front"] = [
        {
            "place": place, "budget": budget, "file": f"blends/front-{place}.json",
            **side(0.8 + budget / 4, 0.9 + budget / 10 + gain, budget - 0.002, std),
            "criterion": {"name": "taylor", **side(0.78 + budget / 4, 0.9 + budget / 10, budget - 0.003, std)},
            "difference": gain, "interval": bounds if std else None, "same_filters": gain == 0,
        }
        for place, budget, (gain, bounds) in zip((1, 2, 3), (0.5, 0.35, 0.2), gains, strict=True)
    ]  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    trials = np.random.default_rng(0).random((30, 1 + len(costs))).tolist()
    record = {"costs": list(costs), "lowest": 0.2, "highest": 0.5, "trials": trials, "front": [3, 5, 8], "points": []}
    (folder / "records" / "front.json").write_text(json.dumps(record))
    return folder


@pytest.mark.usefixtures("only_the_front_is_drawn")
def test_the_front_is_drawn_and_told(tmp_path):
    folder = with_front(tmp_path)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", write_report(folder).read_text()))
    assert "Accuracy against cost" in text
    assert "30 trials, 3 of them on the front" in text
    assert "1 50.0 % 49.8 % 50.8 % 0.9250 96.20 ± 0.40 taylor 0.9050 95.00 ± 0.40 +1.20 [+0.10, +2.30]" in text
    assert "taylor (same filters)" in text
    assert "At 1 of 3 points the interval of the difference lies above 0, at 1 below it." in text
    assert "records/front.json" in text
    assert (folder / "figures" / "front.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "figures" / "front.svg").stat().st_size > 0


def test_each_cost_has_its_row_and_the_picture_shows_the_numbers(tmp_path):
    run = read_search_run(with_front(tmp_path, costs=("flops", "params")))
    drawing = draw_front(run, LIGHT)
    assert len(drawing.figure.axes) == 4
    assert [axes.get_xlabel() for axes in drawing.figure.axes[::2]] == ["FLOPs kept, %", "parameters kept, %"]
    for axes, more in zip(drawing.figure.axes[::2], (0.0, 1.0), strict=True):
        criteria, blends = (line for line in axes.lines if line.get_marker() in ("s", "D"))
        assert np.allclose(blends.get_xdata(), [19.8 + more, 34.8 + more, 49.8 + more])
        assert np.allclose(blends.get_ydata(), [91.0, 93.5, 96.2])
        assert np.allclose(criteria.get_ydata(), [92.0, 93.5, 95.0])
        low, high = axes.get_ylim()
        assert low < 90.6
        assert high > 96.6
    assert "at 1 of them the blend is above" in drawing.alt
    table = front_table(run)
    (figure,) = [one for one in SEARCH_FIGURES.of(run) if one.name == "front"]
    assert "few FLOPs and parameters at once" in figure.caption
    assert [row.better for row in table.rows] == [True, False, False]


def test_one_seed_tests_nothing(tmp_path):
    run = read_search_run(with_front(tmp_path, std=None))
    assert front_table(run).told == "One retraining seed: no difference is tested."
    assert front_table(run).rows[0].interval == "–"
    draw_front(run, LIGHT)


@pytest.mark.usefixtures("only_the_front_is_drawn")
def test_without_a_front_there_is_no_section_and_an_old_picture_goes(tmp_path):
    folder = with_front(tmp_path)
    write_report(folder)
    (folder / "records" / "front.json").unlink()
    page = write_report(folder).read_text()
    assert "Accuracy against cost" not in page
    assert not (folder / "figures" / "front.png").exists()
    with pytest.raises(NotDrawn, match="one objective"):
        draw_front(read_search_run(folder), LIGHT)


def test_a_broken_record_is_one_line(tmp_path):
    folder = with_front(tmp_path)
    (folder / "records" / "front.json").write_text('{"costs": [], "trials": [[0.1, 0.2]], "front": [0]}')
    with pytest.raises(RunError, match=r"front\.json: costs") as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
