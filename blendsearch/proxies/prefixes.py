"""Candidates that keep the same filters in their first layers as an earlier one are read from there on.

What such a candidate gives at a place where nothing but one feature map goes on is, bit for bit, what the earlier one
gave. The network then runs on no image at all up to that place, where the feature maps that were kept come in: this
asks nothing of how it is written, and where it cannot be, a trial beforehand shows it.
"""

from __future__ import annotations

import contextlib
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from blendsearch.compute import Compute
from blendsearch.structure import Plan, Structure
from blendsearch.training.evaluation import evaluating

ROOM = 256 * 2**20
"""Bytes of feature maps that are kept in each process."""
LEAST, MOST = 0.05, 0.95
"""Share of a pass that lies before a place where candidates are taken up: with less nothing is won, with more all are
alike but for their last layers."""
SPACING = 0.05
"""Places lie at least that share of a pass apart."""


@dataclass(frozen=True)
class Cut:
    """A place at which the network can be taken up: the output of `module`.

    groups: those of which some channels lie before it. modules: those that lie before it, and the norms of convolutions
    that do. share: of a pass's multiplications that lie before it.
    """

    module: str
    groups: tuple[str, ...]
    modules: tuple[str, ...]
    share: float

    def key(self, plan: Plan) -> int:
        """Return what is the same for plans that keep the same filters before the cut."""
        return hash((self.module, *((group, plan.keep.get(group)) for group in self.groups)))


@dataclass
class _Course:
    """What one forward pass showed of each module: when it began and ended, what it gave, and the work before."""

    begun: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    work: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, Tensor | None] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    total: int = 0

    def before(self, name: str, outer: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            self.calls[name] += 1
            self.begun.setdefault(name, len(self.begun) + len(self.ended))

        return outer.register_forward_pre_hook(hook)

    def after(self, name: str, outer: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            weight = module._parameters.get("weight")
            if isinstance(output, Tensor) and weight is not None and weight.dim() > 1:
                self.total += output.numel() * weight[0].numel()
            self.ended[name], self.work[name] = len(self.begun) + len(self.ended), self.total
            # What comes after may change it in place.
            self.outputs[name] = output.clone() if isinstance(output, Tensor) else None

        return outer.register_forward_hook(hook)


def find_cuts(network: nn.Module, structure: Structure, images: Tensor, compute: Compute) -> list[Cut]:
    """Return the places, in forward order, at which a network can be taken up; each was tried, with the same answers.

    network: unpruned, on the compute's device; left as it is. images: a few, normalised, two at least.
    """
    images = compute.images(images)
    with evaluating(network), torch.no_grad(), compute.autocast():
        course, wanted = _watch(network, images)
        if not isinstance(wanted, Tensor):
            return []
        cuts: list[Cut] = []
        for name in _candidates(course, len(images)):
            share = course.work[name] / course.total
            if cuts and share < cuts[-1].share + SPACING:
                continue
            if _same_from(network, name, images, course.outputs[name], wanted):
                modules = _modules_before(structure, course, name)
                behind = set(course.begun).difference(modules)
                cuts.append(Cut(name, _groups_before(structure, behind), modules, share))
    return [cut for cut in cuts if len(cut.groups) < len(structure.groups)]


def _watch(network: nn.Module, images: Tensor) -> tuple[_Course, Any]:
    course = _Course()
    handles = []
    try:
        for name, module in network.named_modules():
            if name:
                handles += [course.before(name, module), course.after(name, module)]
        return course, network(images)
    finally:
        for handle in handles:
            handle.remove()


def _candidates(course: _Course, images: int) -> list[str]:
    """Return modules that were called once and gave a batch, by the work before their ends, the least memory first."""

    suited = []
    for name, output in course.outputs.items():
        batch = output is not None and output.dim() > 1 and len(output) == images and course.calls[name] == 1
        if output is not None and batch and LEAST * course.total <= course.work[name] <= MOST * course.total:
            suited.append((course.work[name], output.numel(), -course.ended[name], name))
    return [name for *_, name in sorted(suited)]


def _same_from(network: nn.Module, name: str, images: Tensor, output: Tensor | None, wanted: Tensor) -> bool:
    """Tell whether a network gives the same for no image and a module's output as for the images."""
    if output is None:
        return False
    handle = network.get_submodule(name).register_forward_hook(lambda *_: output.clone())
    try:
        given = network(images[:0])
    except Exception:  # whatever a network does that cannot be done without images
        return False
    finally:
        handle.remove()
    return isinstance(given, Tensor) and given.dtype == wanted.dtype and torch.equal(given, wanted)


def _modules_before(structure: Structure, course: _Course, name: str) -> tuple[str, ...]:
    """Return what is called before a module's end, and the norms of convolutions that are."""
    end = course.ended[name]
    before = [one for one, begun in course.begun.items() if begun < end]
    norms = [norm for layer, norm in structure.trace.norm.items() if layer in before]
    return tuple(dict.fromkeys([*before, *norms]))


def _groups_before(structure: Structure, behind: Collection[str]) -> tuple[str, ...]:
    """Return the groups that have a part in more than the modules behind a cut."""
    return tuple(group.name for group in structure.groups if not all(one.module in behind for one in group.members))


ADAPTING = -1
"""The number of the part that `adapt` passes; parts of the search images are counted from 0."""


class Prefixes:
    """The feature maps of earlier candidates at the cuts, for those that are equal up to there.

    They are kept from the second candidate on that is known to share them; the longest unused ones go first. With them
    go the weights that the layers before the cut were given. room: bytes for all of them, in each process that holds a
    copy; a copy begins with none.
    """

    def __init__(self, cuts: Sequence[Cut], room: int = ROOM) -> None:
        self.cuts, self.room = list(cuts), room
        self._begin()

    def _begin(self) -> None:
        self.seen: Counter[int] = Counter()
        self.kept: OrderedDict[int, dict[int, Tensor]] = OrderedDict()
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.skipped = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"cuts": self.cuts, "room": self.room}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.cuts, self.room = state["cuts"], state["room"]
        self._begin()

    def visit(self, network: nn.Module, plan: Plan) -> Visit:
        """Return what takes up a candidate, which was sliced by `plan`, wherever earlier ones allow."""
        keys = [cut.key(plan) for cut in self.cuts]
        start = max((place for place, key in enumerate(keys) if key in self.kept), default=None)
        known = max((place for place, key in enumerate(keys) if self.seen[key]), default=None)
        self.seen.update(keys)
        watched = sorted({place for place in (start, known) if place is not None})
        for place in watched:
            if keys[place] in self.kept:
                self.kept.move_to_end(keys[place])
        return Visit(self, network, {place: keys[place] for place in watched}, start)

    def put(self, key: int, part: int, features: Tensor, using: Iterable[int]) -> None:
        """Keep the feature maps of a part of the images, if there is room beside those that are in use."""
        size = features.numel() * features.element_size()
        for other in [other for other in self.kept if other not in using]:
            if self.bytes + size <= self.room:
                break
            del self.kept[other]
            self.weights.pop(other, None)
        if self.bytes + size <= self.room:
            self.kept.setdefault(key, {})[part] = features.clone()  # the network may go on to change them in place

    @property
    def bytes(self) -> int:
        """How much is kept."""
        held: list[Mapping[Any, Tensor]] = [*self.kept.values(), *self.weights.values()]
        return sum(one.numel() * one.element_size() for parts in held for one in parts.values())


class Visit:
    """One candidate. keys: place of a cut that is watched -> key there. start: the place from which it is taken up."""

    def __init__(self, outer: Prefixes, network: nn.Module, keys: Mapping[int, int], start: int | None) -> None:
        self.outer, self.network, self.keys, self.start = outer, network, keys, start

    @contextlib.contextmanager
    def adapting(self) -> Iterator[frozenset[str]]:
        """Run a block that passes the same images, all at once, through the network and gives its layers new weights.

        Hands it the layers that have theirs already; those are to be left alone. New weights of a layer depend on
        nothing behind it.
        """
        start = None if self.start is None else self.keys[self.start]
        settled: frozenset[str] = frozenset()
        if start is not None and self.start is not None and start in self.outer.weights:
            settled = frozenset(self.outer.cuts[self.start].modules)
            _give(self.network, self.outer.weights[start])
        with self._watched(_Pass(self, ADAPTING, self.start if settled else None)):
            yield settled
        for place, key in self.keys.items():
            if ADAPTING in self.outer.kept.get(key, {}) and key not in self.outer.weights:
                self.outer.weights[key] = _weights(self.network, self.outer.cuts[place].modules)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Run a block that passes the same images, in the same parts and order, through the adapted network."""
        with self._watched(_Pass(self, 0, self.start)):
            yield

    @contextlib.contextmanager
    def _watched(self, one: _Pass) -> Iterator[None]:
        handles = [self.network.register_forward_pre_hook(one.enter)] if self.keys else []
        for place in self.keys:
            module = self.network.get_submodule(self.outer.cuts[place].module)
            handles.append(module.register_forward_hook(one.leave(place)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Pass:
    """Parts of images on their way through a visited network. first: number of the first part."""

    def __init__(self, visit: Visit, first: int, start: int | None) -> None:
        self.visit, self.outer, self.start = visit, visit.outer, start
        self.part, self.taken_up = first - 1, False

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Begin with the next part of the images; with none of them, where their feature maps are known."""
        self.part += 1
        kept = {} if self.start is None else self.outer.kept.get(self.visit.keys[self.start], {})
        self.taken_up = self.part in kept and len(kept[self.part]) == len(inputs[0])
        if not self.taken_up:
            return None
        self.outer.skipped += 1
        return (inputs[0][:0], *inputs[1:])

    def leave(self, place: int) -> Any:
        """Return the hook of a cut, which hands out what is kept, or keeps what comes."""

        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
            keys = self.visit.keys
            if self.taken_up and place == self.start:
                return self.outer.kept[keys[place]][self.part].clone()
            if not self.taken_up or (self.start is not None and place > self.start):
                self.outer.put(keys[place], self.part, output, keys.values())
            return None

        return hook


def _weights(network: nn.Module, modules: Iterable[str]) -> dict[str, Tensor]:
    """Return copies of what modules hold themselves."""
    return {
        f"{name}.{own}": tensor.detach().clone()
        for name in modules
        for own, tensor in _own(network.get_submodule(name))
    }


def _give(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in weights.items():
            module, _, own = name.rpartition(".")
            getattr(network.get_submodule(module), own).copy_(value)


def _own(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
