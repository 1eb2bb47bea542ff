"""The object that `score` returns: a dict of scores with scales, parts, tables, figures and files."""

from __future__ import annotations

import copy
import csv
import pickle
import sys

import pytest
import torch
from matplotlib.figure import Figure
from small_networks import Mixed, images, randomised

import blendsearch
from blendsearch.criteria import rank
from blendsearch.errors import BlendsearchError, UnknownNameError
from blendsearch.experiment.scoring import measure_agreement
from blendsearch.progress import shown

CRITERIA = ["l1", "taylor", "group_norm"]


@pytest.fixture(scope="module")
def loader():
    return [(images(4, seed=seed), torch.tensor([0, 1, 2, 0])) for seed in range(2)]


@pytest.fixture(scope="module")
def network():
    return randomised(Mixed())


@pytest.fixture
def scores(network, loader):
    return blendsearch.score(network, loader, CRITERIA)


def test_it_is_a_dict_as_before(scores):
    assert isinstance(scores, blendsearch.Scores)
    assert isinstance(scores, dict)
    assert (list(scores), len(scores), "l1" in scores) == (CRITERIA, 3, True)
    plain = {name: dict(groups.items()) for name, groups in scores.items()}
    assert scores == plain
    assert plain == scores
    other = copy.deepcopy(plain)
    other["l1"]["left"][0] += 1
    assert scores != other
    assert scores != {"l1": plain["l1"]}
    assert scores != 3
    assert {**scores, "mine": plain["l1"]}.keys() == {*CRITERIA, "mine"}
    again = pickle.loads(pickle.dumps(scores))
    assert again == copy.deepcopy(scores) == scores
    assert again.scales == scores.scales


def test_scores_of_ones_own_have_a_place_in_it(scores):
    scores["mine"] = {group: values + 1 for group, values in scores["l1"].items()}
    assert scores.scale("mine", "left") == "not recorded"
    assert scores.agreement().criteria == [*CRITERIA, "mine"]
    assert scores.of_convolutions("mine", "left") == {}


def test_each_group_tells_its_scale_and_each_convolution_its_scores(scores, network):
    assert scores.scale("l1", "branch") == "l1 of its one convolution"
    assert scores.scale("l1", "left") == "mean rank of 2 convolutions, 0 to 1"
    assert scores.scales["group_norm"]["left"] == "group_norm of the whole group"
    found = scores.of_convolutions("l1", "left")
    for name in ("left", "right"):
        torch.testing.assert_close(found[name], network.get_submodule(name).weight.detach().flatten(1).abs().sum(1))
    torch.testing.assert_close((rank(found["left"]) + rank(found["right"])) / 2, scores["l1"]["left"])
    assert scores.of_convolutions("group_norm", "left") == {}


def test_ranks_and_agreement_are_those_of_the_package(scores):
    assert torch.equal(scores.ranks()["taylor"]["branch"], rank(scores["taylor"]["branch"]))
    assert scores.agreement() == measure_agreement(dict(scores))
    with pytest.raises(BlendsearchError, match="no criterion to compare"):
        blendsearch.Scores({}).agreement()


def test_what_was_left_out_is_known(network, loader):
    scores = blendsearch.score(network, loader, progress=None)
    assert "bn_scale" not in scores or "subjective" in scores.left_out
    assert scores.left_out["subjective"] == "no ratings of this network's filters are given"
    assert scores.samples == 8
    with pytest.raises(KeyError, match=r"'subjective' cannot score this network: no ratings"):
        scores["subjective"]
    with pytest.raises(BlendsearchError, match=r"scores: 'subjective' cannot score this network"):
        scores.scale("subjective", "left")
    assert scores.get("subjective") is None


def test_a_frame_has_a_row_for_each_filter(scores):
    pytest.importorskip("pandas")
    frame = scores.to_frame()
    assert list(frame.columns) == ["criterion", "group", "filter", "score", "rank"]
    assert len(frame) == 3 * sum(len(values) for values in scores["l1"].values())
    row = frame[(frame.criterion == "taylor") & (frame.group == "branch") & (frame["filter"] == 2)].iloc[0]
    assert row.score == pytest.approx(float(scores["taylor"]["branch"][2]))
    assert row["rank"] == pytest.approx(float(scores.ranks()["taylor"]["branch"][2]))


def test_a_frame_without_pandas_is_one_line(scores, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BlendsearchError, match=r"pip install 'blendsearch\[pandas\]'$"):
        scores.to_frame()


def test_figures(scores):
    figure = scores.plot("l1")
    assert isinstance(figure, Figure)
    assert len(figure.axes) == len(scores.groups)
    written = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {*scores.groups, "mean rank of 2 convolutions, 0 to 1"} <= written
    tiny = blendsearch.Scores({"l1": {"conv1": torch.tensor([1e-6, -3e-6])}}).plot().axes[0]
    assert tiny.yaxis.get_offset_text().get_text() == ""
    assert "-3e-06" in [label.get_text() for label in tiny.get_yticklabels()]
    assert figure._repr_png_()[:4] == b"\x89PNG"
    assert len(scores.plot("taylor", "branch").axes) == 1
    assert isinstance(scores.plot(), Figure)
    assert len(blendsearch.Scores({"l1": scores["l1"]}).plot(groups=["left", "branch"]).axes) == 2
    with pytest.raises(UnknownNameError, match="unknown criterion 'tailor'; did you mean 'taylor'"):
        scores.plot("tailor")
    with pytest.raises(UnknownNameError, match="unknown group 'brunch'; did you mean 'branch'"):
        scores.plot(groups=["brunch"])
    with pytest.raises(BlendsearchError, match="no group to draw"):
        scores.plot(groups=[])


def test_many_groups_are_drawn_in_part_unless_they_are_named():
    wide = blendsearch.Scores({"l1": {f"conv{n}": torch.arange(4.0) for n in range(60)}})
    figure = wide.plot()
    assert len(figure.axes) == 20
    assert any("40 more groups are not drawn" in text.get_text() for text in figure.texts)
    assert len(wide.plot(groups=wide.groups).axes) == 60


@pytest.mark.parametrize("name", ["scores.safetensors", "some/folder/scores.csv"])
def test_files_keep_scores_and_scales(scores, tmp_path, name):
    path = scores.save(tmp_path / name)
    again = blendsearch.Scores.load(str(path))
    assert again == scores
    assert again.scales == scores.scales
    if name.endswith("safetensors"):
        assert (again.left_out, again.samples) == (scores.left_out, 8)
        assert torch.equal(again.of_convolutions("l1", "left")["right"], scores.of_convolutions("l1", "left")["right"])


def test_a_csv_file_is_for_other_programs(scores, tmp_path):
    with scores.save(tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["criterion", "group", "filter", "score", "rank", "scale"]
    assert rows[0]["criterion"] == "l1"
    assert torch.tensor(float(rows[0]["score"])) == scores["l1"][rows[0]["group"]][0]


def test_files_of_something_else_are_one_line(tmp_path):
    for name, text, words in (
        ("none.csv", None, "no such file of scores"),
        ("a.csv", "x,y\n1,2\n", "it has no column 'criterion'"),
        ("b.csv", "criterion,group,filter,score\n", "it has no rows"),
        ("c.csv", "criterion,group,filter,score\nl1,conv1,1,0.5\n", "filter 1 given, 0 expected"),
        ("d.csv", "criterion,group,filter,score\nl1,conv1,0,high\n", "no file of scores"),
        ("e.safetensors", "text", "no file of scores"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(BlendsearchError, match=words) as error:
            blendsearch.Scores.load(tmp_path / name)
        assert "\n" not in str(error.value)


def test_scores_show_themselves(network, loader):
    scores = blendsearch.score(network, loader, progress=None)
    text, page = repr(scores), scores._repr_html_()
    assert text.splitlines()[0].startswith(f"Scores: {len(scores)} criteria, {len(scores.groups)} groups, ")
    assert "subjective" in text.splitlines()[-1]
    assert len(text.splitlines()) < 20
    for words in ("<table>", "1 group)", "no ratings of this network&#x27;s filters", "more:"):
        assert words in page
    assert repr(blendsearch.Scores({})) == "Scores: 0 criteria, 0 groups, 0 filters"


def test_what_takes_long_shows_progress_unless_it_is_silenced(network, loader, monkeypatch, capsys):
    def printed(**options):
        blendsearch.score(network, loader, ["l1", "activation_mean"], **options)
        blendsearch.prune(network, loader, by="taylor", **options)
        list(blendsearch.steps(network, loader, by="taylor", steps=2, **options))
        out, err = capsys.readouterr()
        assert out == ""
        return err

    assert printed() == ""  # it is short
    monkeypatch.setattr(shown, "PATIENCE", 0.0)
    blendsearch.score(network, loader, ["l1", "activation_mean"])
    lines = capsys.readouterr().err
    assert all(task in lines for task in ("structure ", "statistics 2/2, ", "8 images", "scores "))
    blendsearch.prune(network, loader, by="taylor")
    assert "statistics 2/2" in capsys.readouterr().err
    for _ in blendsearch.steps(network, loader, by="taylor", steps=2):
        assert "scores" in capsys.readouterr().err
    assert printed(progress=None) == ""
    told = []
    assert printed(progress=lambda *given: told.append(given[0])) == ""
    assert {"structure", "statistics", "scores"} == set(told)
    generated = (batch for batch in loader)
    blendsearch.score(network, generated, ["l1"], progress=lambda *given: told.append(given))
    assert ("batches", 2, 2) in told
