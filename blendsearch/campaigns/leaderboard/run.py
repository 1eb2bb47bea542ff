"""The leaderboard: criteria and blends x allocations x budgets x schedules x seeds, on one or several networks."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from blendsearch.campaigns.leaderboard.keys import allocation_key, digest, retraining_key, scorer_key
from blendsearch.campaigns.leaderboard.network import BoardNetwork
from blendsearch.campaigns.leaderboard.opening import JOB, opened_board
from blendsearch.campaigns.leaderboard.sharing import Sharing, check_ledger, claim_cell
from blendsearch.campaigns.leaderboard.summary import summarise
from blendsearch.config import Board, NamedSection
from blendsearch.config.yaml_text import to_yaml_line
from blendsearch.errors import BlendsearchError, RunError
from blendsearch.evolution.claims import Claims
from blendsearch.experiment.retraining import Pruning, Repetition, RetrainingSetup, retrain
from blendsearch.experiment.scoring import BlendScorer
from blendsearch.progress import Progress, Reporting, silent
from blendsearch.progress.shown import AUTO, reporting
from blendsearch.reports.markdown.leaderboard import format_leaderboard
from blendsearch.reports.markdown.tables import format_csv
from blendsearch.reports.report import write_report
from blendsearch.results.records.leaderboard import SUMMARY, CellRecord, CellRow, LeaderboardSummary
from blendsearch.results.records.retraining import BLEND, CRITERION, RetrainingOutcome
from blendsearch.results.run_folder import RunFolder, note_skipped, versions
from blendsearch.schedules import SCHEDULES
from blendsearch.structure import Plan
from blendsearch.validation.board import check_board, checked_board_from_dict, load_checked_board, read_blends
from blendsearch.validation.space import make, make_budget

PAGE = "leaderboard.html"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Leaderboard:
    """A finished leaderboard: its folder, the record as in leaderboard.json, the page, and how many cells ran."""

    run_dir: Path
    summary: LeaderboardSummary
    report: Path
    cells_run: int


@dataclass(frozen=True)
class Combination:
    """Positions in the board's lists: with a network they make a column, with a seed what all cells there share."""

    allocation: int
    budget: int
    schedule: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One retraining: a criterion or blend in a combination, with a seed.

    key: what determines it on its network. words: where it stands on the board.
    """

    name: str
    kind: str
    combination: Combination
    seed: int
    key: str
    words: str

    @property
    def file(self) -> str:
        """The file of its record below the run folder."""
        return f"cells/{self.key}.json"


def run_leaderboard(
    board: Board, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent
) -> Leaderboard:
    """Run a board, or go on with one that was stopped or has grown; only cells that are not in the folder run.

    A cell is known by what determines it: settings, data, criterion or blend, code. Cells of the folder that the
    board no longer names stay there and are not shown. With a ledger, any number of processes that are started alike
    share the cells, and each ends with the whole board. Raises RunError when the folder is of another board or job.
    """
    check_board(board)
    check_ledger(board)
    blends = read_blends(board)
    networks = [BoardNetwork.load(board, config, blends, progress) for config in board.networks]
    with opened_board(board, run_dir, resume, progress) as (folder, sharing):
        rows: list[CellRow] = []
        ran, start = 0, time.perf_counter()
        try:
            for network in networks:
                network.settle_precision(sharing)
                note_skipped(folder, network.experiment.splits.skipped)
                with sharing.alone(f"network {network.name}", f"preparing the network '{network.name}'"):
                    network.prepare(folder)
                sharing.check_prepared(network.experiment.folder, network.name)
                cells = list_cells(network)
                ran += _run_cells(network, cells, folder, sharing)
                rows += _read_rows(network, cells, folder)
        except BaseException:
            folder.add_seconds("total", time.perf_counter() - start)
            raise
        with sharing.alone("summary", "writing the summary"):
            folder.add_seconds("total", time.perf_counter() - start)
            summary = summarise(board, networks, rows, folder.seconds)
            last = sharing.last_here
            if last or not _is_told(folder, summary):
                folder.write_record(SUMMARY, summary)
                folder.write_text("leaderboard.csv", format_csv([row.to_dict() for row in rows]))
                folder.write_text("leaderboard.md", format_leaderboard(summary))
                write_report(folder.path, progress)
            if last:  # what killed processes left of cells that others finished, or that are on the board no more
                shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
            folder.event("finished", cells=len(rows), ran=ran)
        return Leaderboard(folder.path, summary, folder / PAGE, ran)


def _is_told(folder: RunFolder, summary: LeaderboardSummary) -> bool:
    """Tell whether record and page say all this but for times: of processes that end together the last writes them.

    It may have died, so that those before it write what is not there.
    """
    page, record = folder / PAGE, folder / SUMMARY
    if not (page.exists() and record.exists()) or page.stat().st_mtime_ns < record.stat().st_mtime_ns:
        return False
    with contextlib.suppress(RunError):
        before = folder.read_record(SUMMARY, LeaderboardSummary)
        then, now = (one.model_dump(mode="json", exclude={"seconds"}) for one in (before, summary))
        return then == now
    return False


def leaderboard(
    board: Board | Mapping[str, object] | str | Path,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: Reporting = AUTO,
) -> Leaderboard:
    """Compare criteria and blends on equal terms; the result has .summary, .run_dir and .report.

    board: a Board, the same as a dict, or the path of a board file. progress: as in `blendsearch.score`.
    """
    if isinstance(board, str | Path):
        board = load_checked_board(board)
    elif not isinstance(board, Board):
        board = checked_board_from_dict(board)
    with reporting(progress) as report:
        return run_leaderboard(board, Path(run_dir) if run_dir is not None else None, resume, report)


def list_cells(network: BoardNetwork) -> list[Cell]:
    """Return the cells of a prepared network, whole seeds first: a stopped board is as comparable as can be."""
    board, ratings = network.board, network.experiment.ratings
    allocations = [allocation_key(section) for section in board.allocations]
    scorers = {name: scorer_key(blend, ratings) for name, blend in network.compared.items()}
    shared = {
        combination: {
            "network": network.key,
            "allocation": allocations[combination.allocation],
            **retraining_key(board, board.budgets[combination.budget], board.schedules[combination.schedule]),
        }
        for combination in list_combinations(board)
    }
    where = {combination: _where(board, combination) for combination in shared}
    return [
        Cell(
            name=name,
            kind=BLEND if name in network.blends else CRITERION,
            combination=combination,
            seed=seed,
            key=digest({**key, "repetition": seed, "scores": scorer}),
            words=f"{network.name}, {name}, {where[combination]}, seed {seed}",
        )
        for seed in range(board.retraining.seeds)
        for combination, key in shared.items()
        for name, scorer in scorers.items()
    ]


def _where(board: Board, combination: Combination) -> str:
    """Return a combination in words, for example "uniform, flops 0.5, one_shot"."""
    budget = board.budgets[combination.budget]
    options = f" ({to_yaml_line(budget.options)})" if budget.options else ""
    allocation = _name_each(board.allocations)[combination.allocation]
    schedule = _name_each(board.schedules)[combination.schedule]
    return f"{allocation}, {budget.kind} {budget.ratio:g}{options}, {schedule}"


def list_combinations(board: Board) -> list[Combination]:
    """Return every combination of an allocation, a budget and a schedule."""
    lists = (board.allocations, board.budgets, board.schedules)
    return [Combination(*places) for places in product(*(range(len(one)) for one in lists))]


def _run_cells(network: BoardNetwork, cells: Sequence[Cell], folder: RunFolder, sharing: Sharing) -> int:
    """Retrain every cell not yet in the folder that no other process is at, until all are there; return how many."""
    wanted = {cell.key: cell for cell in cells}
    pool = network.experiment.pool(retrain_cell, Work(_make_setups(network, folder), sharing.claims))
    progress, task = network.experiment.progress, f"{JOB} {network.name}"
    ran = 0
    while True:
        sharing.fetch({key: cell.file for key, cell in wanted.items()})
        waiting = [cell for cell in wanted.values() if not folder.has(cell.file)]
        finished = len(wanted) - len(waiting)
        progress(task, finished, len(wanted), "")
        if not waiting:
            return ran
        before = ran
        for position, outcome in pool.map(waiting):
            cell = waiting[position]
            if outcome is None:
                continue
            ran += sharing.finish(cell.key, cell.file, _describe_cell(network, cell, outcome))
            shutil.rmtree(folder / CHECKPOINTS / cell.key, ignore_errors=True)
            finished += 1
            progress(task, finished, len(wanted), f"{cell.name} {100 * outcome.test_accuracy:.2f} %")
        if ran == before:
            sharing.wait()


@dataclass(frozen=True)
class Work:
    """What the cells of a network share: their terms, and how they are claimed where other processes share them."""

    setups: Mapping[Combination, RetrainingSetup]
    claims: Claims | None


def retrain_cell(work: Work, cell: Cell) -> RetrainingOutcome | None:
    """Prune and retrain one cell, unless another process is at it; the test split is read here, once per network."""
    if not claim_cell(work.claims, cell.key):
        return None
    setup = work.setups[cell.combination]
    setup = replace(setup, checkpoints=setup.checkpoints / cell.key)
    try:
        return retrain(setup, Repetition(cell.name, cell.kind, cell.seed))[0]
    except BlendsearchError as error:
        raise type(error)(f"{cell.words}: {error}") from None


def _make_setups(network: BoardNetwork, folder: RunFolder) -> dict[Combination, RetrainingSetup]:
    """Return what the cells of each combination share; the workers get all of it once."""
    board, experiment = network.board, network.experiment.at(folder)
    # The scorers of the network itself: its folder holds the drop losses of set-aware blends.
    scorers = {n: BlendScorer.of(network.experiment, blend, network.scores) for n, blend in network.compared.items()}
    setups = {}
    for combination in list_combinations(board):
        allocation = network.allocations[combination.allocation]
        budget = make_budget(board.budgets[combination.budget])
        prunings = {name: Pruning(scorer, allocation, budget) for name, scorer in scorers.items()}
        schedule = make(SCHEDULES, board.schedules[combination.schedule])
        setups[combination] = RetrainingSetup.of(experiment, prunings, schedule)
    return setups


def _describe_cell(network: BoardNetwork, cell: Cell, outcome: RetrainingOutcome) -> CellRecord:
    board, combination = network.board, cell.combination
    assert outcome.plan is not None
    return CellRecord(
        network=network.name,
        criterion=cell.name,
        allocation=board.allocations[combination.allocation],
        budget=board.budgets[combination.budget].model_dump(mode="json", exclude_none=True),
        schedule=board.schedules[combination.schedule],
        seed=cell.seed,
        result=outcome.model_copy(update={"plan": None}),
        plan=Plan.from_dict(outcome.plan).digest,
        versions=versions(),
    )


def _read_rows(network: BoardNetwork, cells: Sequence[Cell], folder: RunFolder) -> Iterator[CellRow]:
    """Yield one row a cell; the board says the names, the files the rest."""
    board, compared = network.board, network.compared
    assert network.unpruned.test_accuracy is not None
    allocations, schedules = _name_each(board.allocations), _name_each(board.schedules)
    for cell in cells:
        result, budget = folder.read_record(cell.file, CellRecord).result, board.budgets[cell.combination.budget]
        yield CellRow(
            network=network.name,
            model=network.config.model.name,
            data=network.experiment.data_name,
            criterion=cell.name,
            kind=cell.kind,
            allocation=allocations[cell.combination.allocation],
            budget_kind=budget.kind,
            budget=budget.ratio,
            min_keep=budget.min_keep,
            budget_options=to_yaml_line(budget.options),
            schedule=schedules[cell.combination.schedule],
            seed=cell.seed,
            test_accuracy=result.test_accuracy,
            search_accuracy=result.search_accuracy,
            unpruned_test_accuracy=network.unpruned.test_accuracy,
            flops_ratio=result.flops_ratio,
            params_ratio=result.params_ratio,
            steps=result.steps,
            retraining_seconds=result.seconds or 0.0,
            scoring_seconds=network.scoring_seconds(compared[cell.name]),
            file=cell.file,
        )


def _name_each(sections: Sequence[NamedSection]) -> list[str]:
    """Return how allocations or schedules are called: by name, with the options where one name stands twice."""
    names = [section.name for section in sections]
    return [
        f"{section.name} ({', '.join(f'{option} {value}' for option, value in section.options.items())})"
        if names.count(section.name) > 1 and section.options
        else section.name
        for section in sections
    ]
