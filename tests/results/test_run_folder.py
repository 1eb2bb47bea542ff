"""The run folder: whole files, chosen names, and campaigns that do not mix."""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
import torch

from blendsearch.errors import RunError
from blendsearch.files import atomic, staged
from blendsearch.results import run_folder
from blendsearch.results.run_folder import (
    RunFolder,
    check_same_space,
    choose_folder,
    join_folder,
    note_job,
    note_skipped,
)
from blendsearch.validation.space import load_checked


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("a.json", {"x": 1})
    with contextlib.suppress(ZeroDivisionError), atomic(tmp_path / "a.json") as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert folder.read_json("a.json") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file/x", tmp_path / "file/deeper/x"):
        for make in (atomic, staged):
            with pytest.raises(NotADirectoryError) as caught, make(path):
                pass
            assert caught.value.filename == str(tmp_path / "file")


def test_tensors_survive_the_round_trip(tmp_path):
    folder = RunFolder(tmp_path)
    tensors = {"w": torch.randn(3, 4)[:, ::2], "n": torch.tensor(3)}
    folder.write_tensors("t.safetensors", tensors)
    read = folder.read_tensors("t.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        RunFolder(tmp_path).write_json("a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_one_clear_line(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "t.safetensors").write_bytes(b"123")
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match=r"a\.json:1: not valid JSON"):
        folder.read_json("a.json")
    with pytest.raises(RunError, match=r"t\.safetensors: cannot be read"):
        folder.read_tensors("t.safetensors")
    with pytest.raises(RunError, match=r"no b\.json"):
        folder.read_json("b.json")


def test_seconds_are_of_stages_that_did_something(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(run_folder.time, "perf_counter", lambda: next(clock))
    folder = RunFolder(tmp_path)

    def run(*written, stage="search"):
        with folder.stopwatch(stage):
            for name in written:
                folder.write_json(f"records/{name}.json", {"x": 1})

    run()  # whatever it is that a first run does
    assert folder.seconds == {"search": 5.0}
    run("a")
    assert folder.seconds == {"search": 10.0}
    run("a")
    assert folder.seconds == {"search": 10.0}, "the same once more was only read"
    with contextlib.suppress(ZeroDivisionError), folder.stopwatch("search"):
        raise ZeroDivisionError
    assert folder.seconds == {"search": 15.0}, "what was stopped took its time"
    with folder.stopwatch("total"):
        run("a", stage="retrain")
    assert folder.seconds == {"search": 15.0, "retrain": 5.0, "total": 15.0}
    with folder.stopwatch("total"):
        run(stage="retrain")
    assert folder.seconds == {"search": 15.0, "retrain": 5.0, "total": 15.0}


def test_events_are_one_json_line_each(tmp_path):
    folder = RunFolder(tmp_path)
    folder.event("started", seed=3)
    folder.event("finished")
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["started", "finished"]
    assert lines[0]["seed"] == 3


def test_default_folders_are_numbered_and_resume_takes_the_latest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(choose_folder(None, "digits", False).path) == "runs/digits"
    (tmp_path / "runs/digits").mkdir(parents=True)
    assert str(choose_folder(None, "digits", False).path) == "runs/digits-2"
    (tmp_path / "runs/digits-2").mkdir()
    assert str(choose_folder(None, "digits", True).path) == "runs/digits-2"


def test_a_gap_left_by_a_deleted_folder_is_not_taken_for_the_next_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/digits-2").mkdir(parents=True)
    assert str(choose_folder(None, "digits", False).path) == "runs/digits-3"
    assert str(choose_folder(None, "digits", True).path) == "runs/digits-2"


def test_the_first_folder_of_another_name_is_no_later_one_of_this(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunFolder("runs/tiny").write_json("space.json", {"name": "tiny"})
    RunFolder("runs/tiny-2").write_json("space.json", {"name": "tiny-2"})
    RunFolder("runs/tiny-3").write_json("board.json", {"name": "tiny-3"})
    assert str(choose_folder(None, "tiny", True).path) == "runs/tiny"
    assert str(choose_folder(None, "tiny-2", True).path) == "runs/tiny-2"
    assert str(choose_folder(None, "tiny", False).path) == "runs/tiny-4"
    RunFolder("runs/tiny-4").write_json("space.json", {"name": "tiny"})
    assert str(choose_folder(None, "tiny", True).path) == "runs/tiny-4"
    with pytest.raises(RunError, match="nothing to resume"):
        choose_folder(None, "tiny-4", True)
    assert str(join_folder(None, "tiny-4", False).path) == "runs/tiny-4-2"
    assert str(join_folder(None, "tiny", False).path) == "runs/tiny-4"
    RunFolder("runs/tiny-audit").write_json("space.json", {"name": "tiny"})
    RunFolder("runs/tiny-audit-2").write_json("space.json", {"name": "tiny"})
    assert str(choose_folder(None, "tiny-audit", True).path) == "runs/tiny-audit-2"


def test_the_folder_of_another_job_is_not_resumed(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("records/baseline.json", {})
    with pytest.raises(RunError, match="no search campaign"):
        check_same_space(folder, {"seed": 0})


def test_a_used_folder_is_not_overwritten(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(RunError, match="--resume"):
        choose_folder(tmp_path, "digits", False)
    assert choose_folder(tmp_path, "digits", True).path == tmp_path


def test_what_is_not_there_is_not_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"^runs/digits: there is no such run folder, so there is nothing to resume"):
        choose_folder(None, "digits", True)
    with pytest.raises(RunError, match="start without --resume"):
        choose_folder(tmp_path / "gone", "digits", True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="is empty, so there is nothing"):
        choose_folder(tmp_path / "empty", "digits", True)


def test_a_job_notes_where_it_was_first_started(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "other").mkdir()
    for place in (tmp_path, tmp_path / "other"):
        monkeypatch.chdir(place)
        note_job(folder, "search", {"by": "l1"})
    assert folder.read_json("job.json") == {"job": "search", "by": "l1", "started_in": str(tmp_path)}
    folder.write_json("job.json", {"job": "search"})  # of an earlier version, which did not say
    note_job(folder, "search")
    assert folder.read_json("job.json") == {"job": "search"}


def test_images_left_out_are_logged(tmp_path):
    folder = RunFolder(tmp_path)
    note_skipped(folder, ())
    note_skipped(folder, [f"{number}.png" for number in range(30)])
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert (json.loads(line)["images"], len(json.loads(line)["files"])) == (30, 20)


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    with RunFolder(tmp_path).locked(), pytest.raises(RunError, match="another process"), RunFolder(tmp_path).locked():
        pass
    with RunFolder(tmp_path).locked():
        pass  # free again


def test_resuming_with_another_space_names_what_differs(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("space.json", {"seed": 0, "search": {"population": 8}, "compute": {"workers": 1}})
    check_same_space(folder, {"seed": 0, "search": {"population": 8}, "compute": {"workers": 2}})
    with pytest.raises(RunError, match=r"differing: search\.population, seed"):
        check_same_space(folder, {"seed": 1, "search": {"population": 9}, "compute": {"workers": 1}})


def test_where_decoded_images_are_kept_may_differ(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("space.json", {"seed": 0, "data": {"root": "here"}})
    check_same_space(folder, {"seed": 0, "data": {"root": "here", "cache": "/elsewhere"}})


@pytest.mark.parametrize(
    ("earlier", "today"),
    [
        ({"backend": "deap", "algorithm": "generational", "sampler": "tpe"}, []),
        ({"backend": "deap", "algorithm": "cma_es", "sampler": "tpe"}, ["search.algorithm=cma_es"]),
        ({"backend": "optuna", "algorithm": "generational", "sampler": "tpe"}, ["search.backend=optuna"]),
        ({"backend": "optuna", "algorithm": "nsga2", "sampler": "cmaes"}, ["search.algorithm=cmaes"]),
    ],
)
def test_a_search_section_of_an_earlier_version_means_the_same(tmp_path, earlier, today):
    digits = "search_spaces/digits.yaml"
    given = ["search.backend=null", "search.algorithm=null", "compute.workers=1"]
    space = load_checked(digits, [*given, "search.random_search=false", *today]).to_dict()
    kept = {key: space["search"][key] for key in ("population", "generations", "elite", "finals")}
    older = {**space, "search": {**kept, **earlier, "control": False, "rungs": [], "pruner": "paired"}}
    folder = RunFolder(tmp_path)
    folder.write_json("space.json", older)
    check_same_space(folder, space)
    named = load_checked(digits, [*given, "search.random_search=false", "search.algorithm=random"]).to_dict()
    with pytest.raises(RunError, match=r"differing: search\.algorithm\.name;"):
        check_same_space(folder, named)
    older["search"]["rungs"] = [{"proxy": {"name": "zero_shot"}, "keep": 0.5}]
    folder.write_json("space.json", older)
    with pytest.raises(RunError, match=r"differing: .*search\."):
        check_same_space(folder, space)


def test_a_key_that_an_older_version_did_not_write_has_its_default(tmp_path):
    space = load_checked("search_spaces/digits.yaml", ["compute.workers=1"]).to_dict()
    older = copy.deepcopy(space)
    del older["search"]["limit"], older["audit"]
    folder = RunFolder(tmp_path)
    folder.write_json("space.json", older)
    check_same_space(folder, space)
    with pytest.raises(RunError, match=r"differing: search\.limit"):
        check_same_space(folder, {**space, "search": {**space["search"], "limit": {"evaluations": 9}}})
