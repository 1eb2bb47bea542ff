"""A search with a ledger of its own: what is told when it is not there, when it is another one, and on the page."""

from __future__ import annotations

import pytest
from tiny_campaign import TINIER
from typer.testing import CliRunner

from blendsearch.campaigns.search.run import run_search
from blendsearch.cli import app
from blendsearch.config import space_from_dict
from blendsearch.errors import RunError
from blendsearch.reports.pages.search import tell_search
from blendsearch.results.runs import read_search_run

SPACE = {**TINIER, "search": {**TINIER["search"], "random_search": False, "rivals": False, "ablation": False}}


def space(**changes):
    return space_from_dict({**SPACE, **changes})


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_a_stopped_search_goes_on_with_its_ledger_alone(tmp_path):
    ledger = f"sqlite:///{tmp_path}/all.db"

    def stop(task, done, total, detail=""):
        if task == "search" and done > 5:  # the first generation is recorded, the second under way
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(space(ledger=ledger), tmp_path / "run", progress=stop)
    with pytest.raises(
        RunError, match="holds 0 of the 4 trials that this run has done; go on with the ledger"
    ) as error:
        run_search(space(ledger=f"sqlite:///{tmp_path}/other.db"), tmp_path / "run", resume=True)
    assert "\n" not in str(error.value)
    run_search(
        space(ledger=f"sqlite:///{tmp_path}/./all.db"), tmp_path / "run", resume=True
    )  # the same under another name
    run_search(space(ledger=ledger), tmp_path / "beside")  # the same space in another run is another study
    assert not (tmp_path / "run/trials.db").exists()


def test_a_database_that_cannot_be_reached_is_told_before_a_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("data: {name: digits}\nmodel: {name: conv4}\n")
    for given, told in (
        ("ledger=sqlite:////nowhere/x.db", "cannot open the ledger"),
        ("ledger=${NO_SUCH_VARIABLE}", "the environment variable NO_SUCH_VARIABLE is not set"),
        ("ledger=postgresql://u:secret@h/d", "override ledger=...: ledger: a password may not stand"),
        ("ledgr=postgresql://u:secret@h/d", "override ledgr=...: ledgr: unknown key"),
        ("ledger=u:secret@h/d", "this is no address"),
    ):
        result = CliRunner().invoke(app, ["search", "space.yaml", given, "-q"], catch_exceptions=False)
        assert result.exit_code == 2
        assert told in result.output
        assert "secret" not in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


def test_the_page_tells_how_the_dashboard_reads_the_ledger(tmp_path):
    folder = run_search(space(), tmp_path / "run").run_dir
    assert tell_search(read_search_run(folder))["dashboard"] == "optuna-dashboard sqlite:///trials.db"
    text = (folder / "space.yaml").read_text()
    address = "postgresql://blend:${PW}@db/blend"
    (folder / "space.yaml").write_text(text.replace("ledger: null", f"ledger: {address}"))
    told = tell_search(read_search_run(folder))
    assert told["dashboard"] == 'PGPASSWORD="$PW" optuna-dashboard "postgresql+psycopg://blend@db/blend"'
    assert "trials.db" not in [name for name, *_ in told["sources"]]
