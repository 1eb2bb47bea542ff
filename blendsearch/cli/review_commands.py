"""The commands that open a web page: review and explain."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blendsearch.cli.commands import Overrides, Quiet, Resume, RunDir, SpaceFile, TrustCode, app
from blendsearch.cli.session import Session, plain_errors, read_space, run_session, trusted

if TYPE_CHECKING:
    from blendsearch.review.review import Review

Port = Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 for any free one.")]
PORT = 8642


@app.command(epilog="Example: blendsearch review search_spaces/digits.yaml --rater ann")
def review(
    space: SpaceFile,
    overrides: Overrides = None,
    layer: Annotated[str | None, typer.Option("--layer", metavar="NAME", help="The layer to begin with.")] = None,
    port: Port = PORT,
    rater: Annotated[str, typer.Option("--rater", metavar="NAME", help="Whose marks these are.")] = "rater",
    blend: Annotated[
        str | None, typer.Option("--blend", metavar="BLEND.json", help="Also show the ranks of a blend.")
    ] = None,
    progressive: Annotated[
        bool, typer.Option("--progressive", help="Prune and retrain layer by layer, as marked.")
    ] = False,
    run_dir: RunDir = None,
    resume: Resume = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Judge filters in a web page.

    Trains the network, scores its filters by all criteria, and shows each layer's filters: what they respond to, and
    how the criteria rank them. Marks are saved as you go in ratings.json of the run folder, which
    `prune --by subjective ratings=FILE` reads. The page is for this machine alone; Ctrl-C ends it.
    """
    options = [*(["--progressive"] if progressive else []), *trusted(trust_code)]
    wanted = {"--rater": rater, "--layer": layer, "--blend": blend, "--port": None if port == PORT else str(port)}
    options += [word for option, value in wanted.items() if value is not None for word in (option, value)]
    with run_session("review", space, overrides, run_dir, resume, quiet, options) as session:
        settings = read_space(space, overrides, trust_code)
        from blendsearch.review.sessions import ReviewOptions, open_loop, open_review

        chosen = ReviewOptions(rater=rater, layer=layer, by=blend, run_dir=run_dir, resume=resume)
        open_page = open_loop if progressive else open_review
        with contextlib.ExitStack() as held:  # the folder stays ours while the page is open
            with session.progress() as progress:
                found = held.enter_context(open_page(settings, chosen, progress))
            session.print(*([f"blend: {found.rule}"] if found.rule else []))
            _serve(found, port)


@app.command(epilog="Example: blendsearch explain runs/digits")
def explain(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a finished search.")],
    port: Port = PORT,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Show what a search's blend kept, and why.

    A web page for this machine alone: what the blend kept and dropped in each layer, what those filters respond to,
    and how the criteria with a say voted. Ctrl-C ends it.
    """
    with plain_errors():
        from blendsearch.review.sessions import open_decision

        session = Session(quiet)
        with session.progress() as progress:
            found = open_decision(run_dir, progress, trust_code=trust_code)
        _serve(found, port)


def _serve(review: Review, port: int) -> None:
    """Serve until Ctrl-C; the address is printed even with --quiet, since without it the page cannot be opened."""
    from blendsearch.review.serving import serve

    serve(review, port, lambda address: print(f"open {address}", flush=True))
