"""What dropping filters of a network costs, for set-aware blends; gathered once and kept in the run folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from blendsearch.blending import Blend
from blendsearch.blending.blend import NO_LOSSES
from blendsearch.criteria import DropLoss, DropLosses, Reader, score_applicable
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.reading import taken_from
from blendsearch.results.run_folder import RunFolder

LOSSES = "losses.safetensors"


def losses_for(experiment: Experiment, blends: Iterable[Blend]) -> DropLosses:
    """Return the drop losses of the network as it is now, where one of the blends is set-aware; else none.

    Read from the folder where they were written, or gathered from the calibration split and written.
    """
    if not any(blend.set_aware for blend in blends):
        return NO_LOSSES
    if not experiment.folder.has(LOSSES):
        write_losses(experiment.folder, gather_losses(experiment))
    return read_losses(experiment.folder)


def gather_losses(experiment: Experiment) -> DropLosses:
    """Gather the drop losses of the network as it is now from the calibration split."""
    batches = experiment.splits.calibration.batches(128)
    network, structure = experiment.network, experiment.structure
    return score_applicable(network, structure, batches, [], experiment.scoring, set_aware=True).losses


def write_losses(folder: RunFolder, losses: DropLosses) -> None:
    """Write the Gram matrices and weights of every reader of every group as one file of tensors."""
    tensors = {}
    for group, loss in losses.items():
        for number, reader in enumerate(loss.readers):
            tensors[f"{loss.width}/{number}/gram/{group}"] = reader.gram
            tensors[f"{loss.width}/{number}/weights/{group}"] = reader.weights
            assert reader.importance is not None
            tensors[f"{loss.width}/{number}/importance/{group}"] = reader.importance
    folder.write_tensors(LOSSES, tensors)


def read_losses(folder: RunFolder) -> dict[str, DropLoss]:
    """Read what `write_losses` wrote."""
    with taken_from(folder / LOSSES):
        return _put_together(folder.read_tensors(LOSSES))


def _put_together(tensors: Mapping[str, Tensor]) -> dict[str, DropLoss]:
    readers: dict[str, dict[int, Reader]] = {}
    widths: dict[str, int] = {}
    for key in tensors:
        width, number, part, group = key.split("/", 3)
        if part == "gram":
            others = (tensors[f"{width}/{number}/{name}/{group}"] for name in ("weights", "importance"))
            reader = Reader(tensors[key], *others)
            readers.setdefault(group, {})[int(number)] = reader
            widths[group] = int(width)
    return {group: DropLoss(widths[group], [own[n] for n in sorted(own)]) for group, own in readers.items()}
