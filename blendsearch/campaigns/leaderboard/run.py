"""The leaderboard: criteria and blends x allocations x budgets x schedules x seeds, on one or several networks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blendsearch.allocation import Allocation
from blendsearch.campaigns.leaderboard.keys import allocation_key, digest, scorer_key, terms_key
from blendsearch.campaigns.leaderboard.network import BoardNetwork, budget_from
from blendsearch.campaigns.leaderboard.summary import summarise
from blendsearch.campaigns.search.run import stopwatch
from blendsearch.config import Board
from blendsearch.errors import RunError
from blendsearch.evolution.parallel import WorkerPool
from blendsearch.experiment.retraining import Candidate, Retrained, Terms, retrain
from blendsearch.progress import Progress, silent
from blendsearch.reports.markdown.leaderboard import csv_text, markdown_text
from blendsearch.reports.report import write_report
from blendsearch.results.run_folder import RunFolder, check_same_job, choose_folder
from blendsearch.results.versions import versions
from blendsearch.schedules import SCHEDULES, Scorer
from blendsearch.structure import Plan
from blendsearch.validation.board import check_board, checked_board_from_dict, load_checked_board, read_blends
from blendsearch.validation.space import make

JOB = "leaderboard"
UNUSED = ("name", "kind", "seed", "plan")
"""Keys of a retraining's record that a cell does not keep; the plan's digest is kept."""


@dataclass(frozen=True)
class Leaderboard:
    """A finished leaderboard: its folder, the record as in leaderboard.json, the page, and how many cells ran."""

    run_dir: Path
    summary: dict[str, Any]
    report: Path
    cells_run: int


@dataclass(frozen=True)
class Column:
    """Positions in the board's lists: together with a network and a seed they make the terms that all share."""

    allocation: int
    budget: int
    schedule: int


@dataclass(frozen=True)
class Cell:
    """One retraining: a criterion or blend in a column, with a seed; `key` is what determines it on its network."""

    name: str
    column: Column
    seed: int
    key: str

    @property
    def file(self) -> str:
        """The file of its result below the run folder."""
        return f"cells/{self.key}.json"


@dataclass
class Work:
    """What the cells of one network share, sent to each worker once: terms of each column, and where to checkpoint."""

    terms: dict[Column, Terms]
    checkpoints: Path


def run_leaderboard(
    board: Board, run_dir: Path | None = None, resume: bool = False, progress: Progress = silent
) -> Leaderboard:
    """Run a board, or go on with one that was stopped or has grown; only cells that are not in the folder run.

    A cell is known by what determines it: settings, data, criterion or blend, code. Cells of the folder that the
    board no longer names stay there and are not shown. Raises RunError when the folder is of another board or job.
    """
    check_board(board)
    blends = read_blends(board)
    networks = [BoardNetwork.opened(board, config, blends, progress) for config in board.networks]
    folder = choose_folder(run_dir, board.name, resume)
    with folder.locked():
        _open(folder, board)
        with stopwatch(folder, "total"):
            ran = 0
            cells: dict[str, list[Cell]] = {}
            for network in networks:
                network.prepare(folder)
                cells[network.config.name] = cells_of(network)
                ran += _run_cells(network, cells[network.config.name], folder, progress)
        return _finished(board, networks, cells, folder, ran, progress)


def leaderboard(
    board: Board | Mapping[str, Any] | str | Path,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Leaderboard:
    """Compare criteria and blends on equal terms; the result has .summary, .run_dir and .report.

    board: a Board, the same as a dict, or the path of a board file.
    """
    if isinstance(board, str | Path):
        board = load_checked_board(board)
    elif not isinstance(board, Board):
        board = checked_board_from_dict(board)
    return run_leaderboard(board, Path(run_dir) if run_dir is not None else None, resume, progress)


def _open(folder: RunFolder, board: Board) -> None:
    """Note the board in its folder; RunError when the folder holds another job's files or another board's."""
    check_same_job(folder, JOB)
    before = folder.read_json("board.json")["name"] if folder.has("board.json") else board.name
    if before != board.name:
        raise RunError(f"{folder.path}: holds the board '{before}', not '{board.name}'; choose another --run-dir")
    event = "resumed" if folder.has("board.json") else "started"
    folder.write_json("job.json", {"job": JOB})
    folder.write_text("board.yaml", board.to_yaml())
    folder.write_json("board.json", board.to_dict())
    folder.event(event, seed=board.seed)


def cells_of(network: BoardNetwork) -> list[Cell]:
    """Return the cells of a prepared network, whole seeds first: a stopped board is as comparable as can be."""
    board = network.board
    terms = {(b, s): terms_key(board, budget, schedule)
             for b, budget in enumerate(board.budgets) for s, schedule in enumerate(board.schedules)}  # fmt: skip
    allocations = [allocation_key(section) for section in board.allocations]
    scorers = {name: scorer_key(blend) for name, blend in network.compared.items()}
    cells = []
    for seed in range(board.retraining.seeds):
        for column in columns_of(board):
            shared = {
                "network": network.key, **terms[column.budget, column.schedule],
                "allocation": allocations[column.allocation], "repetition": seed,
            }  # fmt: skip
            cells += [Cell(name, column, seed, digest({**shared, "scores": key})) for name, key in scorers.items()]
    return cells


def columns_of(board: Board) -> list[Column]:
    """Return every combination of an allocation, a budget and a schedule."""
    return [
        Column(allocation, budget, schedule)
        for allocation in range(len(board.allocations))
        for budget in range(len(board.budgets))
        for schedule in range(len(board.schedules))
    ]


def _run_cells(network: BoardNetwork, cells: Sequence[Cell], folder: RunFolder, progress: Progress) -> int:
    """Retrain every cell not yet in the folder; return how many that were."""
    waiting = list({cell.key: cell for cell in cells if not folder.has(cell.file)}.values())
    compute = network.board.compute
    pool: WorkerPool[Work, Cell, Retrained]
    pool = WorkerPool(retrain_cell, _work(network, folder), workers=network.experiment.workers, threads=compute.threads)
    task, finished = f"{JOB} {network.config.name}", len({cell.key for cell in cells}) - len(waiting)
    total = finished + len(waiting)
    progress(task, finished, total, "")
    for position, result in pool.map(waiting):
        cell = waiting[position]
        folder.write_json(cell.file, _record(network, cell, result))
        shutil.rmtree(folder / "checkpoints" / cell.key, ignore_errors=True)
        finished += 1
        progress(task, finished, total, f"{cell.name} {100 * result.test_accuracy:.2f} %")
    return len(waiting)


def retrain_cell(work: Work, cell: Cell) -> Retrained:
    """Prune and retrain one cell; the test split is read here, once per network."""
    terms = replace(work.terms[cell.column], checkpoints=work.checkpoints / cell.key)
    return retrain(terms, Candidate(cell.name, "criterion", cell.seed))[0]


def _work(network: BoardNetwork, folder: RunFolder) -> Work:
    board, experiment = network.board, network.experiment
    experiment.network.cpu()
    scorers: dict[str, Scorer] = {name: network.scorer(blend) for name, blend in network.compared.items()}
    terms = {}
    for column in columns_of(board):
        allocations: dict[str, Allocation] = dict.fromkeys(scorers, network.allocations[column.allocation])
        terms[column] = Terms(
            experiment.network, experiment.structure, scorers, allocations, budget_from(board.budgets[column.budget]),
            make(SCHEDULES, board.schedules[column.schedule]), board.retraining, experiment.splits, experiment.compute,
            board.seed, None, experiment.compensation,
        )  # fmt: skip
    return Work(terms, folder / "checkpoints")


def _record(network: BoardNetwork, cell: Cell, result: Retrained) -> dict[str, Any]:
    """Return a cell's file: what it is of, in words, and what came out."""
    board, column = network.board, cell.column
    return {
        "network": network.config.name,
        "criterion": cell.name,
        "allocation": board.allocations[column.allocation].model_dump(mode="json"),
        "budget": board.budgets[column.budget].model_dump(mode="json", exclude_none=True),
        "schedule": board.schedules[column.schedule].model_dump(mode="json"),
        "seed": cell.seed,
        "result": {key: value for key, value in asdict(result).items() if key not in UNUSED},
        "plan": Plan.from_dict(result.plan).digest,
        "versions": versions(),
    }


def _finished(
    board: Board,
    networks: Sequence[BoardNetwork],
    cells: Mapping[str, Sequence[Cell]],
    folder: RunFolder,
    ran: int,
    progress: Progress,
) -> Leaderboard:
    rows = [row for network in networks for row in _rows(network, cells[network.config.name], folder)]
    summary = summarise(board, networks, rows, folder.read_json("records/seconds.json"))
    folder.write_json("leaderboard.json", summary)
    folder.write_text("leaderboard.csv", csv_text(rows))
    folder.write_text("leaderboard.md", markdown_text(summary))
    report = write_report(folder.path, progress)
    folder.event("finished", cells=len(rows), ran=ran)
    return Leaderboard(folder.path, summary, report, ran)


def _rows(network: BoardNetwork, cells: Sequence[Cell], folder: RunFolder) -> list[dict[str, Any]]:
    """Return one flat row a cell, in the order of the CSV's columns; the board says the names, the files the rest."""
    board, compared = network.board, network.compared
    labels = _labels(board)
    rows = []
    for cell in cells:
        result, column = folder.read_json(cell.file)["result"], cell.column
        budget = board.budgets[column.budget]
        rows.append(
            {
                "network": network.config.name,
                "model": network.config.model.name,
                "data": network.record()["data"]["name"],
                "criterion": cell.name,
                "kind": "blend" if cell.name in network.blends else "criterion",
                "allocation": labels["allocations"][column.allocation],
                "budget_kind": budget.kind,
                "budget": budget.ratio,
                "min_keep": budget.min_keep,
                "schedule": labels["schedules"][column.schedule],
                "seed": cell.seed,
                "test_accuracy": result["test_accuracy"],
                "search_accuracy": result["search_accuracy"],
                "unpruned_test_accuracy": network.baseline["test_accuracy"],
                "flops_ratio": result["flops_ratio"],
                "params_ratio": result["params_ratio"],
                "steps": result["steps"],
                "retraining_seconds": result["seconds"],
                "scoring_seconds": network.scoring_seconds(compared[cell.name]),
                "file": cell.file,
            }
        )
    return rows


def _labels(board: Board) -> dict[str, list[str]]:
    """Return how allocations and schedules are called: by name, with the options where one name stands twice."""
    result = {}
    for key in ("allocations", "schedules"):
        sections = getattr(board, key)
        names = [section.name for section in sections]
        result[key] = [
            f"{section.name} ({', '.join(f'{option} {value}' for option, value in section.options.items())})"
            if names.count(section.name) > 1 and section.options
            else section.name
            for section in sections
        ]
    return result
