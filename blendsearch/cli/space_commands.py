"""The commands that stand before a campaign: init writes a space file, validate looks for what is amiss with one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blendsearch.cli.commands import Overrides, Quiet, TrustCode, app
from blendsearch.cli.completion import complete_example, complete_model
from blendsearch.cli.session import Session, plain_errors

SpaceOrBoardFile = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="A space file or a board file.")]


@app.command(epilog="Example: blendsearch validate search_spaces/digits.yaml seed=3")
def validate(
    space: SpaceOrBoardFile,
    overrides: Overrides = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Look at keys, values and names alone, in less than a second.")
    ] = False,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Find what a campaign would refuse; estimate its time.

    Prints the file with all defaults, then what the campaign counts up to, what speaks against it, and sizes, time
    and memory. Data, weights, structure and budget are looked at, images of folders counted and few of them decoded;
    nothing is written.
    """
    with plain_errors():
        session = Session(quiet)
        if quick:
            from blendsearch.validation.quick import load_by_names

            session.print(load_by_names(space, overrides or []).to_yaml().rstrip())
            return
        session.shows_progress = session.shows_progress and session.on_terminal  # the file alone goes into a pipe
        with session.loading():
            from blendsearch.campaigns.inspection import inspect
            from blendsearch.results.trust import check_file
            from blendsearch.validation.board import load_checked_space_or_board, told_defaults

            settings = load_checked_space_or_board(space, overrides or [])
            check_file(space, settings, lambda: load_checked_space_or_board(space), trust_code)
        with session.progress() as progress:
            found = inspect(settings, progress)
        session.print(settings.to_yaml().rstrip(), "")
        session.print(*(f"# {line}" for line in [*told_defaults(settings), *found.counted]))
        session.print(*(f"# note: {note}" for note in found.notes), f"# {found.sentence}")


@app.command(epilog="Example: blendsearch init photos --model torchvision:resnet18 --weights mine.pt")
def init(
    data: Annotated[
        str | None, typer.Argument(metavar="FOLDER_OR_DATASET", help="A tree of class folders, or a data set's name.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="The network; default one that fits.", autocompletion=complete_model
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", metavar="FILE", help="Its trained weights.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.yaml", help="Where to write; default NAME.yaml here.")
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            "--example", metavar="NAME", help="Write one of the example spaces.", autocompletion=complete_example
        ),
    ] = None,
    post_training: Annotated[
        bool,
        typer.Option("--post-training", help="Nothing is retrained; candidates are judged without labels."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write a space file for your images and network.

    Looks at a folder of images (classes, how many, how large, whether a test part is there) and writes a commented
    file with numbers that fit, which `search` takes as it is. What is there already is never overwritten.
    """
    with plain_errors():
        session = Session(quiet)
        with session.loading():
            from blendsearch.campaigns.new_space import Wish, write_space

            wish = Wish(data=data, model=model, weights=weights, out=out, example=example, post_training=post_training)
            written = write_space(wish)
        session.print(*written.found, f"wrote {written.path}", *written.next)
