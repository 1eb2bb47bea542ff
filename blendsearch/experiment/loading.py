"""From a run folder or a saved file to the network, ready to be used; nothing is trained and no data are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blendsearch.config import ModelConfig, Space
from blendsearch.errors import BlendsearchError, RunError, StructureError, WeightsError, first_line
from blendsearch.experiment.description import MODEL, describe_network
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.kept_networks import Kept, find_kept
from blendsearch.experiment.saved import Saved, read_saved
from blendsearch.models.loading import build, is_own_code
from blendsearch.models.weights import misfits, shapes_of
from blendsearch.results.records.shipping import Figures, NetworkRecord
from blendsearch.results.run_folder import RunFolder
from blendsearch.results.trust import check_code
from blendsearch.structure import Plan, Structure
from blendsearch.structure.copying import copy_with
from blendsearch.structure.example import FAILURES

WEIGHTS_FILE = "model.safetensors"
"""The saved network in a folder that an export made."""

FETCHED = ("weights", "weights_backbone", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")
"""Arguments by which torchvision and timm fetch weights, which the run's own replace."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A network that was read: in evaluation mode on the CPU, with all that is known of it.

    name: of the contender, or of the file, without its ending. whole: the unpruned network with random weights, or as
    it was given; None where there is none at hand.
    """

    network: nn.Module
    plan: Plan | None
    whole: nn.Module | None
    about: NetworkRecord
    figures: Figures
    name: str


def load(
    run_dir_or_file: str | Path,
    model: nn.Module | None = None,
    contender: str | None = None,
    trust_code: bool = False,
) -> nn.Module:
    """Return the network of a run or of a saved file, on the CPU in evaluation mode.

    run_dir_or_file: the folder of a `search`, `prune`, `train` or `review --progressive`, a folder made by `export`, or
    a file written by `save`. model: an instance of the unpruned network, which is left untouched; None builds it as the
    run's space, or the file, says. contender: of a search, another network than the one to ship, by its name ("l1"), or
    "unpruned". trust_code: whether to run code that the folder or file names, where you did not make it here yourself.
    Raises RunError, WeightsError or StructureError, in one line, for what is missing or does not fit.
    """
    return open_network(run_dir_or_file, model, contender, trust_code).network


def open_network(
    source: str | Path, model: nn.Module | None = None, contender: str | None = None, trust_code: bool = False
) -> Opened:
    """Do as `load` does, and return what else is known of the network."""
    path = Path(source).expanduser()
    if path.is_dir() and (path / WEIGHTS_FILE).is_file() and not (path / "job.json").is_file():
        path = path / WEIGHTS_FILE
    if path.is_dir():
        return _from_run(RunFolder(path), model, contender, trust_code)
    if not path.exists():
        raise RunError(f"{path}: there is no such run folder or file (looked in '{Path.cwd()}')")
    if contender is not None:
        raise RunError(f"{path}: contender '{contender}' given, but a file holds one network; give the run's folder")
    saved = read_saved(path)
    if saved is None:
        raise WeightsError(
            f"{path}: carries no plan; give the folder of its run, or a file that `save` or `blendsearch export` wrote"
        )
    return _from_file(saved, model, trust_code)


def _from_file(saved: Saved, model: nn.Module | None, trust_code: bool) -> Opened:
    about = saved.record.network or NetworkRecord()
    if model is None and not trust_code:
        _check_own_code(about.name, saved.path)
    whole = _built(about, saved.path) if model is None else model
    return Opened(
        network=saved.put_into(whole),
        plan=saved.plan,
        whole=whole,
        about=about,
        figures=saved.record.figures or Figures(),
        name=saved.path.stem,
    )


def _from_run(folder: RunFolder, model: nn.Module | None, contender: str | None, trust_code: bool) -> Opened:
    kept = find_kept(folder, contender)
    space = folder.space
    about = _about(folder, space, needed=model is None)
    if model is None and is_own_code(about.name):
        check_code(folder.path, [ModelConfig(name=about.name, arguments=about.arguments)], trust_code)
    whole = _built(about, folder / MODEL if folder.has(MODEL) else folder.path) if model is None else model
    network = whole
    if kept.plan is not None:
        network = _sliced(whole, kept.plan, space, about, folder.path)
    return Opened(
        network=_filled(network, folder, kept),
        plan=kept.plan,
        whole=whole,
        about=about,
        figures=kept.figures,
        name=contender or "network",
    )


def _about(folder: RunFolder, space: Space, *, needed: bool) -> NetworkRecord:
    """Return how the network of a run is built; a folder without a record of it needs its data for that."""
    if folder.has(MODEL):
        return folder.read_record(MODEL, NetworkRecord)
    return describe_network(Experiment(space)) if needed else NetworkRecord()


def plain_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a network is built with where its weights are at hand: nothing is fetched."""
    return {name: value for name, value in arguments.items() if name not in FETCHED}


def _built(about: NetworkRecord, source: Path) -> nn.Module:
    """Build the unpruned network; the state of torch's generator is left as it was."""
    if not about.name or about.shape is None:
        raise WeightsError(f"{source}: does not say how its network is built; give model=, an unpruned instance")
    config = ModelConfig(name=about.name, arguments=plain_arguments(about.arguments))
    with torch.random.fork_rng(devices=[]):
        return build(config, num_classes=len(about.classes), shape=about.shape).eval()


def _check_own_code(name: str, source: Path) -> None:
    """Raise WeightsError for code that does not lie in the working folder itself.

    So that nobody's file can have an installed package run something.
    """
    if not is_own_code(name):
        return
    root, here = name.partition(":")[0].partition(".")[0], Path.cwd().resolve()
    allowed = [here / f"{root}.py", here / root / "__init__.py", here / root]
    if not any(place.exists() for place in allowed) or _found_elsewhere(root, allowed):
        raise WeightsError(
            f"{source}: its network is {name}, code that is not in '{here}'; give model=, an unpruned instance of it, "
            "or, once you trust it, --trust-code (in Python trust_code=True)"
        )


def _found_elsewhere(root: str, allowed: Sequence[Path]) -> bool:
    """Tell whether Python would import a module from another place than those allowed."""
    try:
        spec = find_spec(root)
    except ValueError:  # such as __main__, which has none
        return True
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations
    return not places or any(Path(place or "").resolve() not in allowed for place in places)


def _sliced(whole: nn.Module, plan: Plan, space: Space, about: NetworkRecord, source: Path) -> nn.Module:
    """Slice the unpruned network as the run did."""
    section = space.structure
    example = torch.zeros(2, *(about.shape or _guessed_shape(space, source)))
    try:
        structure = Structure.of(
            whole,
            example,
            scope=section.scope,
            ignore=section.ignore,
            ignore_inputs=section.ignore_inputs,
        )
        return structure.slice(whole, plan)
    except (StructureError, *FAILURES) as error:
        raise StructureError(
            f"{source}: the {type(whole).__name__} is not the network that was pruned ({first_line(error)})"
        ) from None


def _guessed_shape(space: Space, source: Path) -> tuple[int, int, int]:
    try:
        return Experiment(space).splits.shape
    except BlendsearchError as error:
        raise RunError(f"{source}: the size of its images is not known without its data ({error})") from None


def _filled(network: nn.Module, folder: RunFolder, kept: Kept) -> nn.Module:
    """Return a copy of a network with the weights of a run's file; WeightsError where they do not fit."""
    tensors, file = folder.read_tensors(kept.file), folder / kept.file
    faults = misfits(shapes_of(network.state_dict()), shapes_of(tensors))
    if faults:
        raise WeightsError(f"{file}: does not fit the {type(network).__name__}: {faults}")
    result = copy_with(network, lambda path, name, tensor, module: tensor.clone())
    result.load_state_dict(tensors, strict=False)
    return result.cpu().eval()
