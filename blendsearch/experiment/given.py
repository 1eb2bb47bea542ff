"""Objects that a campaign is handed in Python in place of names in a space file: network, loaders, own retraining."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.config import Space
from blendsearch.data.loaders import Loaders
from blendsearch.data.splits import Splits
from blendsearch.errors import ConfigError, DataError, RunError, first_line
from blendsearch.models.loading import GIVEN
from blendsearch.progress import Progress
from blendsearch.proxies import PROXIES
from blendsearch.results.records.common import JobRecord
from blendsearch.results.run_folder import RunFolder
from blendsearch.statistics.task import Loss, Task
from blendsearch.structure.given import check_network, float_copy
from blendsearch.validation.space import make

NEEDS_ONE_SHOT = "one_shot"
ABOUT_CLASSES = ("distillation", "label_smoothing")
"""Settings of a training that belong to the cross entropy of classes."""
FACT = "given"
"""Under which job.json keeps the fingerprints of what was given."""

TrainFunction = Callable[[nn.Module], Any]
"""Retrains a network in place, or returns the trained one."""


@dataclass(frozen=True)
class Given:
    """What a campaign was handed: a copy of the network (CPU, float32), its loaders, the user's own retraining.

    loss, with the loaders' metric: of networks that do not tell classes of images apart.
    """

    network: nn.Module
    loaders: Loaders
    train_fn: TrainFunction | None = None
    loss: Loss | None = None

    @classmethod
    def of(
        cls, network: Any, loaders: Loaders, train_fn: TrainFunction | None = None, loss: Loss | None = None
    ) -> Given:
        """Take what is given; StructureError for a network that cannot be read, ConfigError for what is no function."""
        check_network(network)
        for name, function in {"train_fn": train_fn, "loss": loss, "metric": loaders.metric}.items():
            if function is not None and not callable(function):
                raise ConfigError(f"{name}: {type(function).__name__} given, allowed: a function")
        if loss is not None and loaders.metric is None:
            raise ConfigError(
                "metric: not given beside a loss; allowed: metric(outputs, targets), 0 to 1, higher is better, one "
                "number or one for each image"
            )
        return cls(float_copy(network), loaders, train_fn, loss)

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """What was given to train and to measure by."""
        given = {"train_fn": self.train_fn, "loss": self.loss, "metric": self.loaders.metric}
        return {name: function for name, function in given.items() if function is not None}

    @property
    def task(self) -> Task | None:
        """What the network is for; None: to tell classes apart."""
        return None if self.loaders.metric is None else Task(loss=self.loss)

    @property
    def name(self) -> str:
        """What a space calls the network."""
        return f"{GIVEN}:{type(self.network).__name__}"

    @property
    def metric_name(self) -> str | None:
        """What the metric is called; None where accuracy is measured."""
        metric = self.loaders.metric
        return None if metric is None else getattr(metric, "__name__", type(metric).__name__)

    def splits(self, space: Space, progress: Progress) -> Splits:
        """Return the four parts of the data; DataError where the network cannot take them."""
        splits = self.loaders.splits(space.data, space.seed, progress)
        images, _ = next(iter(splits.calibration.batches(2)))
        outputs = self._outputs(images)
        if self.loaders.metric is not None:
            return splits
        if outputs is None or outputs.dim() != 2 or outputs.shape[1] < len(splits.classes):
            given = type(outputs).__name__ if outputs is None else tuple(outputs.shape)
            raise DataError(
                f"model: it gives {given} for {len(images)} images, allowed: logits "
                f"({len(images)}, {len(splits.classes)} or more), one for each class of the labels"
            )
        more = range(len(splits.classes), outputs.shape[1])
        return replace(splits, classes=(*splits.classes, *(str(number) for number in more)))

    def _outputs(self, images: Tensor) -> Tensor | None:
        try:
            with torch.no_grad():
                outputs = self.network.eval()(images)
        except (RuntimeError, ValueError, TypeError) as error:
            size = "x".join(str(number) for number in images.shape[1:])
            raise DataError(
                f"model: it cannot take the images of train, {size} (CxHxW): {first_line(error)}"
            ) from error
        return outputs if isinstance(outputs, Tensor) else None

    def check(self, space: Space) -> None:
        """Raise ConfigError for settings that cannot stand beside a metric or a retraining of the user's own."""
        if self.loaders.metric is not None:
            self._check_task(space)
        if self.train_fn is None:
            return
        if space.schedule.name != NEEDS_ONE_SHOT:
            raise ConfigError(
                f"schedule: '{space.schedule.name}' trains in steps of its own; with train_fn allowed: {NEEDS_ONE_SHOT}"
            )
        if space.search.finals is not None:
            raise ConfigError("search.finals: a rung is a share of the epochs, and train_fn has none; set it to None")

    def _check_task(self, space: Space) -> None:
        if space.search.finals is not None:
            raise ConfigError("search.finals: it counts which images are right, and there is a metric; set it to None")
        if space.allocation.name == "sensitivity":
            raise ConfigError("allocation: 'sensitivity' measures how many labels are right, and there is a metric")
        if space.data.labels == "predicted":
            raise ConfigError("data.labels: 'predicted' stands for classes, and there is a metric")
        for part in make(PROXIES, space.proxy).made_of():
            if part.name == "agreement":
                raise ConfigError("proxy: 'agreement' compares class probabilities, and there is a metric")
            if part.trains and self.loss is None:
                raise ConfigError(f"loss: not given beside a metric; '{part.name}' trains by loss(outputs, targets)")
        for key in ABOUT_CLASSES:
            if getattr(space.retraining, key):
                raise ConfigError(f"retraining.{key}: it is about classes, and there is a metric; leave it out")
        if space.reconstruction is not None and space.reconstruction.logits:
            raise ConfigError(
                "reconstruction.logits: it compares class probabilities, and there is a metric; leave it out"
            )
        if space.retraining.epochs and self.train_fn is None and self.loss is None:
            raise ConfigError("loss: not given beside a metric; retraining needs loss(outputs, targets), or train_fn")

    def facts(self, splits: Splits) -> dict[str, Any]:
        """Return what a resumed run must find unchanged."""
        return {FACT: {"model": network_digest(self.network), "data": splits.fingerprint}}

    def check_same(self, folder: RunFolder, splits: Splits) -> None:
        """Raise RunError when a folder was begun with another network or other images."""
        if not folder.has("job.json"):
            return
        before = folder.read_record("job.json", JobRecord).given
        if before is None:
            raise RunError(f"{folder.path}: was made from a space file; go on with that, or choose another run_dir")
        now = self.facts(splits)[FACT]
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            what = {"model": "the model is another", "data": "the loaders give other images or labels"}[changed[0]]
            raise RunError(
                f"{folder.path}: {what} than when it was begun; go on with the same, or choose another run_dir"
            )


def network_digest(network: nn.Module) -> str:
    """Return a fingerprint of a network's form and weights."""
    digest = hashlib.sha256(str(network).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + str(tensor.dtype).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
