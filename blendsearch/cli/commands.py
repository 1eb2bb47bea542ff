"""The commands; each reads its arguments, calls one function of campaigns and prints what it returns.

What a command calls is imported inside it, so that --help and mistakes in a space file do not wait for torch.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blendsearch.cli import tables
from blendsearch.cli.display import no_progress, output_console, shown_progress
from blendsearch.errors import BlendsearchError, unknown_name
from blendsearch.progress import Progress
from blendsearch.version import __version__

if TYPE_CHECKING:
    from blendsearch.config import Board, Space

KINDS = ("criteria", "allocations", "proxies", "schedules", "backends", "models", "datasets")
WRONG_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(
    name="blendsearch",
    help="Find the blend of filter-pruning criteria that keeps most accuracy of your network at your budget.",
    epilog="Example: blendsearch search search_spaces/digits.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SpaceFile = Annotated[Path, typer.Argument(metavar="SPACE.yaml", help="The space file of the campaign.")]
BoardFile = Annotated[Path, typer.Argument(metavar="BOARD.yaml", help="The board file of the leaderboard.")]
SpaceOrBoardFile = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="A space file or a board file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Keys of the space file to set, such as search.population=12 seed=3."),
]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", metavar="DIR", help="Folder of the run; default a new one in runs/.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


class Session:
    """Where a command prints: a console for results, progress while it works; silent with --quiet."""

    def __init__(self, quiet: bool) -> None:
        self.console = output_console(quiet)
        self.shows_progress = not quiet

    def progress(self) -> contextlib.AbstractContextManager[Progress]:
        """Return the progress callback as a context."""
        return shown_progress(self.console) if self.shows_progress else no_progress()

    def print(self, *things: object) -> None:
        """Print results; texts are never cut."""
        for thing in things:
            self.console.print(thing, soft_wrap=isinstance(thing, str))


def read_space(space: Path, overrides: list[str] | None, resumed: bool = False) -> Space:
    """Read a space file with its overrides; every mistake at once."""
    from blendsearch.validation.space import load_checked

    return load_checked(space, overrides or [], resumed=resumed)


def read_board(board: Path, overrides: list[str] | None) -> Board:
    """Read a board file with its overrides; every mistake at once."""
    from blendsearch.validation.board import load_checked_board

    return load_checked_board(board, overrides or [])


def files_and_overrides(given: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Tell files from key=value among arguments; a file may have "=" in its name."""
    files = [word for word in given if "=" not in word or Path(word).is_file()]
    return [Path(word) for word in files], [word for word in given if word not in files]


@contextlib.contextmanager
def plain_errors(after_interrupt: str = "stopped") -> Iterator[None]:
    """Turn wrong input into its message and exit code 2, Ctrl-C into a line and 130; the rest is our bug."""
    try:
        yield
    except BlendsearchError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt:
        print(after_interrupt, file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def how_to_resume(
    command: str, space: Path, overrides: list[str] | None, run_dir: Path | None, options: Sequence[str] = ()
) -> str:
    """Return what an interrupted command says: the command line that continues it."""
    folder = ["--run-dir", str(run_dir)] if run_dir else []
    line = shlex.join(["blendsearch", command, str(space), *options, *(overrides or []), *folder, "--resume"])
    return f"stopped; continue with: {line}"


def print_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        print(f"blendsearch {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Options before the command."""


@app.command(epilog="Example: blendsearch search search_spaces/digits.yaml search.population=12 seed=3")
def search(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Search a blend and compare it with every criterion.

    A campaign trains the network, scores its filters by all criteria, clusters the criteria by rank, evolves
    a blend, retrains the best blend and every criterion on the same terms, and writes a report.
    """
    with plain_errors(how_to_resume("search", space, overrides, run_dir)):
        settings = read_space(space, overrides, resume)
        from blendsearch.campaigns.search.run import run_search

        session = Session(quiet)
        with session.progress() as progress:
            campaign = run_search(settings, run_dir, resume, progress)
        summary = campaign.summary
        session.print(tables.result_table(summary), *tables.verdicts(summary))
        session.print(*tables.front_table(summary))
        session.print(*tables.latency_line(summary.get("latency")), "")
        session.print(tables.stage_times(summary["seconds"]), f"report: {campaign.report}")


@app.command(epilog="Example: blendsearch train search_spaces/digits.yaml training.epochs=5")
def train(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Train the network of a space, without pruning."""
    with plain_errors(how_to_resume("train", space, overrides, run_dir)):
        settings = read_space(space, overrides)
        from blendsearch.campaigns.single import run_train

        session = Session(quiet)
        with session.progress() as progress:
            result = run_train(settings, run_dir, progress, resume)
        session.print(tables.baseline_table(result), f"run folder: {result['run_dir']}")


@app.command(epilog="Example: blendsearch score search_spaces/digits.yaml criteria='[l1, fpgm, taylor]'")
def score(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Score filters by each criterion; show which rank alike."""
    with plain_errors(how_to_resume("score", space, overrides, run_dir)):
        settings = read_space(space, overrides)
        from blendsearch.campaigns.single import run_score

        session = Session(quiet)
        with session.progress() as progress:
            result = run_score(settings, run_dir, progress, resume)
        session.print(tables.criteria_table(result["criteria"]), tables.agreement_table(result["agreement"]))
        session.print(tables.clusters_table(result["clusters"]), *tables.raters_lines(result.get("ratings")))
        session.print(f"run folder: {result['run_dir']}")


@app.command(epilog="Example: blendsearch prune search_spaces/digits.yaml --by taylor budget.flops=0.3")
def prune(
    space: SpaceFile,
    by: Annotated[str, typer.Option("--by", metavar="NAME_OR_BLEND.json", help="A criterion, or a blend's file.")],
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Prune by one criterion or a found blend, and retrain."""
    with plain_errors(how_to_resume("prune", space, overrides, run_dir, ["--by", by])):
        settings = read_space(space, overrides)
        from blendsearch.campaigns.single import run_prune

        session = Session(quiet)
        with session.progress() as progress:
            result = run_prune(settings, by, run_dir, progress, resume)
        session.print(tables.kept_table(result["kept"]), tables.pruned_table(result))
        session.print(*tables.latency_line(result.get("latency")), *tables.raters_lines(result.get("ratings")))
        session.print(*filter(None, [result.get("rule"), result.get("note")]), f"run folder: {result['run_dir']}")


@app.command(epilog="Example: blendsearch sensitivity search_spaces/sbpf_digits.yaml seed=3")
def sensitivity(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Measure how much accuracy each layer costs under damage.

    Options are those of the space's allocation where that is `sensitivity`; nothing is pruned.
    """
    with plain_errors(how_to_resume("sensitivity", space, overrides, run_dir)):
        settings = read_space(space, overrides)
        from blendsearch.campaigns.sensitivity import run_sensitivity

        session = Session(quiet)
        with session.progress() as progress:
            result = run_sensitivity(settings, run_dir, progress, resume)
        session.print(tables.sensitivity_table(result))
        session.print(f"undamaged: {tables.percent(result['accuracy'])} on the search split")
        session.print(f"run folder: {result['run_dir']}")


@app.command(epilog="Example: blendsearch curves search_spaces/scarce_data_digits.yaml curves.draws=3")
def curves(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Measure accuracy against the share removed.

    Nothing is retrained, and the criteria score from few images of each class: which of them can be trusted where
    data are scarce? Each number of images is drawn several times; the report shows the curves with their range.
    """
    with plain_errors(how_to_resume("curves", space, overrides, run_dir)):
        settings = read_space(space, overrides)
        from blendsearch.campaigns.curves.run import run_curves

        session = Session(quiet)
        with session.progress() as progress:
            result = run_curves(settings, run_dir, resume, progress)
        session.print(tables.areas_table(result.summary), result.summary["comparison"]["sentence"], "")
        session.print(f"report: {result.report}")


@app.command(epilog="Example: blendsearch audit search_spaces/digits.yaml audit.plans=12")
def audit(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Measure how well each proxy predicts retraining.

    Different plans are estimated by every proxy and retrained on equal terms with several seeds; the report gives
    Kendall's tau of each proxy with an interval, what noise allows, and what an estimate costs.
    """
    with plain_errors(how_to_resume("audit", space, overrides, run_dir)):
        settings = read_space(space, overrides)
        from blendsearch.campaigns.audit.run import run_audit

        session = Session(quiet)
        with session.progress() as progress:
            result = run_audit(settings, run_dir, resume, progress)
        session.print(tables.proxies_table(result.summary), f"report: {result.report}")


@app.command(epilog="Example: blendsearch leaderboard search_spaces/leaderboard_digits.yaml retraining.seeds=5")
def leaderboard(
    board: BoardFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Compare criteria, blends, allocations and schedules.

    Everything in a board is retrained on equal terms with the same seeds. A finished board can grow: with --resume
    and a further criterion, seed, budget or network in the file only the new cells are run.
    """
    with plain_errors(how_to_resume("leaderboard", board, overrides, run_dir)):
        settings = read_board(board, overrides)
        from blendsearch.campaigns.leaderboard.run import run_leaderboard

        session = Session(quiet)
        with session.progress() as progress:
            result = run_leaderboard(settings, run_dir, resume, progress)
        session.print(tables.leaderboard_table(result.summary), result.summary["sentence"], "")
        session.print(f"{result.cells_run} of {result.summary['cells']} cells run, the others were there")
        session.print(f"leaderboard: {result.report}")


@app.command(epilog="Example: blendsearch transfer runs/digits/blend.json search_spaces/digits.yaml budget.flops=0.3")
def transfer(
    blend: Annotated[Path, typer.Argument(metavar="BLEND.json", help="The file of a found blend.")],
    given: Annotated[
        list[str],
        typer.Argument(metavar="SPACE.yaml... [KEY=VALUE]...", help="Space files, and keys to set in all of them."),
    ],
    run_dir: RunDir = None,
    resume: Resume = False,
    no_search: Annotated[bool, typer.Option("--no-search", help="Search no blend in the spaces.")] = False,
    quiet: Quiet = False,
) -> None:
    """Apply a found blend elsewhere and compare it there.

    In each space the blend, every criterion and a blend that is searched there are retrained on the same terms. A
    finished transfer can grow: with --resume and a further space only that is run.
    """
    option = ["--no-search"] if no_search else []
    with plain_errors(how_to_resume("transfer", blend, given, run_dir, option)):
        files, overrides = files_and_overrides(given)
        settings = [read_space(file, overrides) for file in files]
        from blendsearch.campaigns.transfer.run import run_transfer

        session = Session(quiet)
        with session.progress() as progress:
            result = run_transfer(blend, settings, run_dir, resume, progress, not no_search)
        session.print(tables.transfer_table(result.summary), *tables.transfer_lines(result.summary), "")
        session.print(f"transfer: {result.report}")


@app.command(epilog="Example: blendsearch report runs/digits")
def report(run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR")], quiet: Quiet = False) -> None:
    """Write the report of a campaign again."""
    with plain_errors():
        from blendsearch.reports.report import write_report

        session = Session(quiet)
        with session.progress() as progress:
            file = write_report(run_dir, progress)
        session.print(f"report: {file}")


@app.command(epilog="Example: blendsearch compare runs/digits runs/digits-layer --page compared.html")
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Folders of finished campaigns.")],
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.html", help="Also write a page with a figure.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Put campaigns side by side.

    The first one is what the others are held against: where the terms are equal, seed by seed; else it says what
    differs.
    """
    with plain_errors():
        from blendsearch.campaigns.compare import compare_runs

        session = Session(quiet)
        result = compare_runs(runs, page)
        session.print(tables.campaigns_table(result.rows), tables.settings_table(result.rows, result.settings))
        session.print(*tables.pair_lines(result.pairs, result.unequal, result.rows[0]["label"]))
        session.print(*([f"page: {page}"] if page else []))


@app.command(name="list", epilog="Example: blendsearch list criteria")
def list_entries(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}; default all.")] = None,
) -> None:
    """List what a space file can name."""
    with plain_errors():
        if kind is not None and kind not in KINDS:
            raise unknown_name("kind", kind, KINDS)
        from blendsearch.validation.catalogue import catalogue

        session = Session(quiet=False)
        for one in [kind] if kind else KINDS:
            session.print(tables.entries_table(one, catalogue(one)))


@app.command(epilog="Example: blendsearch validate search_spaces/digits.yaml seed=3")
def validate(space: SpaceOrBoardFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Check a space or board file; print it with all defaults."""
    with plain_errors():
        from blendsearch.validation.board import load_checked_space_or_board

        settings = load_checked_space_or_board(space, overrides or [])
        Session(quiet).print(settings.to_yaml().rstrip())
