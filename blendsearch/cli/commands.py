"""The commands; each reads its arguments, calls one function of campaigns and prints what it returns.

What a command calls is imported inside it, so that --help does not wait for torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blendsearch.cli import comparisons, tables
from blendsearch.cli.completion import KINDS, complete_criterion, complete_kind, complete_override
from blendsearch.cli.session import (
    Session,
    files_and_overrides,
    plain_errors,
    read_board,
    read_space,
    run_session,
    trusted,
)
from blendsearch.errors import unknown_name
from blendsearch.results.words import percent
from blendsearch.version import __version__

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
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Keys of the space file to set, such as search.population=12 seed=3.",
        autocompletion=complete_override,
    ),
]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", metavar="DIR", help="Folder of the run; default a new one in runs/.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run the code that somebody's run folder names as its network.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


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
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Search a blend and compare it with every criterion.

    A campaign trains the network, scores its filters by all criteria, clusters the criteria by rank, evolves
    a blend, retrains the best blend and every criterion on the same terms, and writes a report.
    """
    with run_session("search", space, overrides, run_dir, resume, quiet, trusted(trust_code)) as session:
        settings = read_space(space, overrides, trust_code, resumed=resume)
        from blendsearch.campaigns.search.run import run_search

        campaign = session.run(run_search, settings)
        summary = campaign.summary
        session.print(*tables.decision_lines(summary), "")
        session.print(tables.result_table(summary), *tables.verdicts(summary), *tables.front_table(summary))
        session.print(*tables.latency_line(summary.latency), "")
        session.print(tables.stage_times(summary.seconds), f"report: {campaign.report}")


@app.command(epilog="Example: blendsearch train search_spaces/digits.yaml training.epochs=5")
def train(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Train the network of a space, without pruning."""
    with run_session("train", space, overrides, run_dir, resume, quiet, trusted(trust_code)) as session:
        settings = read_space(space, overrides, trust_code)
        from blendsearch.campaigns.single import run_train

        result = session.run(run_train, settings)
        session.print(tables.trained_table(result.summary), f"run folder: {result.run_dir}")


@app.command(epilog="Example: blendsearch score search_spaces/digits.yaml criteria='[l1, fpgm, taylor]'")
def score(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Score filters by each criterion; show which rank alike.

    Shows the filters that stand out in each group, too; scores.csv in the run folder has the score and rank of every
    filter under every criterion.
    """
    with run_session("score", space, overrides, run_dir, resume, quiet, trusted(trust_code)) as session:
        settings = read_space(space, overrides, trust_code)
        from blendsearch.campaigns.single import run_score

        result = session.run(run_score, settings)
        scored = result.summary
        session.print(tables.criteria_table(scored.criteria), tables.agreement_table(scored.agreement))
        session.print(tables.clusters_table(scored.clusters), *tables.extremes_tables(scored.filters))
        session.print(*tables.raters_lines(scored.ratings), *tables.left_out_lines(scored.left_out))
        session.print(f"all scores: {result.run_dir / 'scores.csv'}", f"run folder: {result.run_dir}")


@app.command(epilog="Example: blendsearch prune search_spaces/digits.yaml --by taylor budget.flops=0.3")
def prune(
    space: SpaceFile,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="NAME_OR_BLEND.json",
            help="A criterion, or a blend's file.",
            autocompletion=complete_criterion,
        ),
    ],
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Prune by one criterion or a found blend, and retrain."""
    with run_session("prune", space, overrides, run_dir, resume, quiet, ["--by", by, *trusted(trust_code)]) as session:
        settings = read_space(space, overrides, trust_code)
        from blendsearch.campaigns.single import run_prune

        result = session.run(run_prune, settings, by)
        pruned = result.summary
        session.print(tables.kept_table(pruned.kept), tables.pruned_table(pruned))
        session.print(*tables.latency_line(pruned.latency), *tables.raters_lines(pruned.ratings))
        session.print(*filter(None, [pruned.rule, pruned.note]), f"run folder: {result.run_dir}")


@app.command(epilog="Example: blendsearch sensitivity search_spaces/sbpf_digits.yaml seed=3")
def sensitivity(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Measure how much accuracy each layer costs under damage.

    Options are those of the space's allocation where that is `sensitivity`; nothing is pruned.
    """
    with run_session("sensitivity", space, overrides, run_dir, resume, quiet, trusted(trust_code)) as session:
        settings = read_space(space, overrides, trust_code)
        from blendsearch.campaigns.sensitivity import run_sensitivity

        result = session.run(run_sensitivity, settings)
        session.print(tables.sensitivity_table(result.summary))
        session.print(*filter(None, [result.summary.note]))
        session.print(f"undamaged: {percent(result.summary.accuracy)} on the search split")
        session.print(f"run folder: {result.run_dir}")


@app.command(epilog="Example: blendsearch curves search_spaces/scarce_data_digits.yaml curves.draws=3")
def curves(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Measure accuracy against the share removed.

    Nothing is retrained, and the criteria score from few images of each class: which of them can be trusted where
    data are scarce? Each number of images is drawn several times; the report shows the curves with their range.
    """
    with run_session("curves", space, overrides, run_dir, resume, quiet, trusted(trust_code)) as session:
        settings = read_space(space, overrides, trust_code)
        from blendsearch.campaigns.curves.run import run_curves

        result = session.run(run_curves, settings)
        summary = result.summary
        session.print(comparisons.areas_table(summary), summary.comparison.sentence, *summary.notes, "")
        session.print(f"report: {result.report}")


@app.command(epilog="Example: blendsearch audit search_spaces/digits.yaml audit.plans=12")
def audit(
    space: SpaceFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Measure how well each proxy predicts retraining.

    Different plans are estimated by every proxy and retrained on equal terms with several seeds; the report gives
    Kendall's tau of each proxy with an interval, what noise allows, and what an estimate costs.
    """
    with run_session("audit", space, overrides, run_dir, resume, quiet, trusted(trust_code)) as session:
        settings = read_space(space, overrides, trust_code)
        from blendsearch.campaigns.audit.run import run_audit

        result = session.run(run_audit, settings)
        session.print(
            comparisons.proxies_table(result.summary, retrained=settings.retraining.epochs > 0),
            f"report: {result.report}",
        )


@app.command(epilog="Example: blendsearch leaderboard search_spaces/leaderboard_digits.yaml retraining.seeds=5")
def leaderboard(
    board: BoardFile,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Compare criteria, blends, allocations and schedules.

    Everything in a board is retrained on equal terms with the same seeds. A finished board can grow: with --resume
    and a further criterion, seed, budget or network in the file only the new cells are run.
    """
    with run_session("leaderboard", board, overrides, run_dir, resume, quiet, trusted(trust_code)) as session:
        settings = read_board(board, overrides, trust_code)
        from blendsearch.campaigns.leaderboard.run import run_leaderboard

        result = session.run(run_leaderboard, settings)
        session.print(comparisons.leaderboard_table(result.summary), result.summary.sentence, "")
        session.print(comparisons.cells_line(result.cells_run, result.summary.cells))
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
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Apply a found blend elsewhere and compare it there.

    In each space the blend, every criterion and a blend that is searched there are retrained on the same terms. A
    finished transfer can grow: with --resume and a further space only that is run.
    """
    option = [*(["--no-search"] if no_search else []), *trusted(trust_code)]
    with run_session("transfer", blend, given, run_dir, resume, quiet, option) as session:
        files, overrides = files_and_overrides(given)
        settings = [read_space(file, overrides, trust_code) for file in files]
        from blendsearch.campaigns.transfer.run import run_transfer

        result = session.run(run_transfer, blend, settings, searches=not no_search)
        session.print(comparisons.transfer_table(result.summary), *comparisons.transfer_lines(result.summary), "")
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
        campaigns = compare_runs(runs, page).summary
        session.print(comparisons.campaigns_table(campaigns), comparisons.settings_table(campaigns))
        session.print(*comparisons.pair_lines(campaigns))
        session.print(*([f"page: {page}"] if page else []))


@app.command(name="list", epilog="Example: blendsearch list criteria")
def list_entries(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}; default all.", autocompletion=complete_kind),
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also options, needs and sources, a few lines an entry.")
    ] = False,
) -> None:
    """List what a space file can name."""
    with plain_errors():
        if kind is not None and kind not in KINDS:
            raise unknown_name("kind", kind, KINDS)
        from blendsearch.validation.catalogue import catalogue

        session = Session(quiet=False)
        for one in [kind] if kind else KINDS:
            rows = catalogue(one)
            session.print(*(tables.entries_in_full(one, rows) if details else [tables.entries_table(one, rows)]))
