"""The commands that take a run's results elsewhere: export and tensorboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blendsearch.cli.commands import Quiet, TrustCode, app
from blendsearch.cli.session import Session, plain_errors
from blendsearch.cli.tables import duration, plain_table
from blendsearch.errors import unknown_name

if TYPE_CHECKING:
    from blendsearch.results.records.shipping import ExportRecord

FORMATS = ("onnx", "torch_export", "state_dict", "huggingface")
"""What `export` can write."""

BATCHES = ("dynamic", "fixed")
RUNTIMES = ("torch", "torch.compile", "onnxruntime")
"""What `benchmark` can time."""


@app.command(epilog="Example: blendsearch export runs/digits --to onnx")
def export(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_DIR_OR_FILE", help="A run folder, or the file of a saved network.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="File or folder; default in `exported` of the run.")
    ] = None,
    contender: Annotated[
        str | None, typer.Option("--contender", metavar="NAME", help="A search's network of that name; or unpruned.")
    ] = None,
    batch: Annotated[str, typer.Option("--batch", metavar="KIND", help="dynamic, or fixed to one image.")] = "dynamic",
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's network in a form to ship.

    It is tried in that form first: ONNX by onnxruntime, the others in a process that cannot import blendsearch. The
    largest difference between its outputs and the network's is told; too large a one is an error.
    """
    with plain_errors():
        for kind, given, allowed in (("format", to, FORMATS), ("batch", batch, BATCHES)):
            if given not in allowed:
                raise unknown_name(kind, given, allowed, "--to" if kind == "format" else "--batch")
        from blendsearch.campaigns.export.run import export as write

        session = Session(quiet)
        dynamic = batch == "dynamic"
        with session.progress() as progress:
            done = write(
                source,
                out,
                to=to,
                contender=contender,
                dynamic_batch=dynamic,
                trust_code=trust_code,
                progress=progress,
            )
        session.print(*export_lines(done))


def export_lines(done: ExportRecord) -> list[str]:
    """Return what was written, how it was checked, and what is to be known of it."""
    opset = f", opset {done.opset}" if done.opset else ""
    sizes = ", ".join(str(size) for size in sorted(set(done.batches)))
    return [
        f"{done.format}: {done.path} ({done.bytes / 1e6:.2f} MB{opset}, {duration(done.seconds)})",
        f"largest difference {done.difference:.1e}, largest output {done.largest_output:.3g} (allowed: "
        f"{100 * done.tolerance:g} % of that); batches of {sizes}; checked by {done.checked}",
        *([done.note] if done.note else []),
    ]


@app.command(epilog="Example: blendsearch benchmark runs/digits --runtime torch --batch 1 --threads 2")
def benchmark(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_DIR_OR_FILE", help="A run folder, or the file of a saved network.")
    ],
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", metavar="NAME", help=f"Of {', '.join(RUNTIMES)}; default all that are installed."),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", metavar="N", help="Images in a batch; default 1 and 32.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", metavar="N", help="Threads of a CPU.")] = 1,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu or cuda.")] = "auto",
    contender: Annotated[
        str | None, typer.Option("--contender", metavar="NAME", help="A search's network of that name.")
    ] = None,
    trust_code: TrustCode = False,
    quiet: Quiet = False,
) -> None:
    """Time the pruned network beside the unpruned one.

    By turns, so that a busy machine slows both alike. The figures of the network to ship go into the run's report.
    """
    with plain_errors():
        for name in runtime or ():
            if name not in RUNTIMES:
                raise unknown_name("runtime", name, RUNTIMES, "--runtime")
        from blendsearch.campaigns.benchmark import benchmark as measure

        session = Session(quiet)
        with session.progress() as progress:
            done = measure(
                source,
                contender=contender,
                runtimes=runtime or None,
                batches=batch or (1, 32),
                threads=threads,
                device=device,
                trust_code=trust_code,
                progress=progress,
            )
        table = plain_table(
            "latency, milliseconds", "runtime", "device", "images", "not pruned", "pruned", "times as fast"
        )
        for pair in done.pairs:
            ratio = f"{pair.unpruned_ms / pair.shipped_ms:.2f}"
            cells = [str(pair.images), f"{pair.unpruned_ms:.3g}", f"{pair.shipped_ms:.3g}", ratio]
            table.add_row(pair.runtime, pair.device, *cells)
        session.print(table, *(f"no {name}: {why}" for name, why in done.left_out.items()))


@app.command(epilog="Example: blendsearch tensorboard runs/digits --out logs/digits")
def tensorboard(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a finished search.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the scalars; default in the run folder.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a search's records as TensorBoard scalars.

    Proxies by generation, losses of the retrainings by epoch, accuracies by seed; from the run folder alone.
    """
    with plain_errors():
        from blendsearch.reports.tensorboard import write_tensorboard

        session = Session(quiet)
        folder = write_tensorboard(run_dir, out)
        session.print(f"scalars: {folder} (tensorboard --logdir {folder})")
