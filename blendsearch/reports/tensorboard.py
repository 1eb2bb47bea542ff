"""A campaign's records as TensorBoard scalars: proxies by generations, losses by epochs, accuracies by seeds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from blendsearch.errors import ExportError, RunError
from blendsearch.files import staged
from blendsearch.results.records.retraining import Retraining
from blendsearch.results.records.search import Generation
from blendsearch.results.run_folder import RunFolder
from blendsearch.results.runs import read_search_run

EVENTS = "events.out.tfevents.*"
GENERATION = ("best", "mean", "worst", "best_so_far")
COST = ("evaluations", "distinct", "seconds", "passes")
RETRAINED = ("test_accuracy", "search_accuracy", "pruned_test_accuracy", "flops_ratio", "params_ratio")


def write_tensorboard(run_dir: str | Path, out: str | Path | None = None) -> Path:
    """Write the scalars of a finished search campaign from its records alone; return the folder for `tensorboard`.

    out: the folder; None for `tensorboard` in the run folder. Below it `search` has the proxies and the cost of each
    generation; a folder for each contender its accuracies and ratios, with the seed as step; in that a folder for each
    seed the loss of its retraining by epochs. What was written there before is replaced.
    Raises RunError for a folder of another job, ExportError where the extra `tensorboard` is not installed.
    """
    folder = RunFolder(Path(run_dir).expanduser())
    if folder.path.is_dir() and folder.job != "search":
        raise RunError(f"{folder.path}: was made by 'blendsearch {folder.job}'; scalars are those of a search campaign")
    run, target = read_search_run(folder.path), Path(out).expanduser() if out is not None else folder / "tensorboard"
    _needed()
    _write(target / "search", _of_search(run.evolution))
    names = dict.fromkeys((one.kind, one.name) for one in run.retrained)
    for kind, name in names:
        own = [one for one in run.retrained if (one.kind, one.name) == (kind, name)]
        place = target / f"{kind}-{name}".replace(" ", "_").replace("/", "_")
        _write(place, _of_contender(own))
        for one in own:
            _write(place / f"seed{one.seed}", (("retraining/loss", epoch, x) for epoch, x in enumerate(one.loss, 1)))
    return target


def _of_search(generations: Iterable[Generation]) -> Iterator[tuple[str, int, Any]]:
    for one in generations:
        yield from ((f"proxy/{name}", one.generation, getattr(one, name)) for name in GENERATION)
        yield from ((f"cost/{name}", one.generation, getattr(one, name)) for name in COST)


def _of_contender(retrainings: Iterable[Retraining]) -> Iterator[tuple[str, int, Any]]:
    for one in retrainings:
        yield from ((f"retrained/{name}", one.seed, getattr(one, name)) for name in RETRAINED)


def _needed() -> None:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        raise ExportError("writing scalars needs tensorboard; install blendsearch[tensorboard]") from None


def _write(folder: Path, scalars: Iterable[tuple[str, int, Any]]) -> None:
    """Write (tag, step, value) into one file of a folder; what is not known is left out."""
    known = [(tag, step, value) for tag, step, value in scalars if value is not None]
    earlier = list(folder.glob(EVENTS))
    if known:
        from torch.utils.tensorboard import SummaryWriter

        with staged(folder) as place, contextlib.closing(SummaryWriter(str(place))) as writer:
            for tag, step, value in known:
                writer.add_scalar(tag, value, step)
            writer.flush()
    for file in earlier:
        file.unlink()
