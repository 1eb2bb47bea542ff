"""Candidates that keep the same filters in their first layers as an earlier one are read from there on.

What such a candidate gives at a place where nothing but one feature map goes on is, bit for bit, what the earlier one
gave. The network then runs on no image at all up to that place, where the feature maps that were kept come in: this
asks nothing of how it is written, and where it cannot be, a trial beforehand shows it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from joblib import cpu_count
from torch import Tensor, nn

from blendsearch.compute import Compute, is_out_of_memory
from blendsearch.structure import Plan, Structure
from blendsearch.structure.blocks import Member
from blendsearch.structure.trace import CallCounter
from blendsearch.training.evaluation import evaluating

LEAST_ROOM, MOST_ROOM, PART_OF_MEMORY = 2**28, 2**30, 8
"""Bytes of feature maps and weights that are kept for each proxy in each process: between the first two, so that one
process a core takes no more than that part of the memory, see `room_here`. With 7,000 images a feature map of ResNet-20
takes 40 to 150 MiB: swaps of single filters in any layer took two thirds of the time with 1 GiB that they took with 256
MiB, and no less with more."""
LEAST, MOST = 0.05, 0.95
"""Share of a pass that lies before a place where candidates are taken up: with less nothing is won, with more all are
alike but for their last layers."""
LIMIT_OF_CONTAINER = Path("/sys/fs/cgroup/memory.max")
SPACING = 0.05
"""Places lie at least that share of a pass apart."""


@dataclass(frozen=True)
class Cut:
    """A place at which the network can be taken up: the output of `module`.

    groups: those of which some channels lie before it. modules: those that are called before its end, and the norms of
    convolutions that are. share: of a pass's multiplications that lie before it.
    """

    module: str
    groups: tuple[str, ...]
    modules: tuple[str, ...]
    share: float


@functools.cache
def room_here() -> int:
    """Return the room of a process on this machine, in bytes; the least where its memory is not told."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return LEAST_ROOM
    with contextlib.suppress(OSError, ValueError):  # a container's own limit; "max" is none
        memory = min(memory, int(LIMIT_OF_CONTAINER.read_text()))
    return min(MOST_ROOM, max(LEAST_ROOM, memory // PART_OF_MEMORY // cpu_count()))


def keys_of(cuts: Sequence[Cut], plan: Plan) -> list[bytes]:
    """Return for each cut what is the same for plans that keep the same filters before it, and for no others."""
    groups = {group for cut in cuts for group in cut.groups}
    kept = {group: sha256(repr(plan.keep.get(group)).encode()).digest() for group in groups}
    return [sha256(b"".join([cut.module.encode(), *(kept[group] for group in cut.groups)])).digest() for cut in cuts]


@dataclass
class _Course:
    """What one forward pass showed of each module: when it began, for the first and the last time, and ended, what it
    gave, and the work, and residual additions, before its end.
    """

    begun: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    additions: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    work: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    total: int = 0
    clock: int = 0

    def before(self, name: str, outer: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            self.calls[name] += 1
            self.clock += 1
            self.begun.setdefault(name, self.clock)
            self.last[name] = self.clock

        return outer.register_forward_pre_hook(hook)

    def after(self, name: str, outer: nn.Module, counter: CallCounter) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self.clock += 1
            self.additions[name] = counter.additions
            weight = module._parameters.get("weight")
            if isinstance(output, Tensor) and weight is not None and weight.dim() > 1:
                self.total += output.numel() * weight[0].numel()
            self.ended[name], self.work[name] = self.clock, self.total
            self.outputs.pop(name, None)
            if isinstance(output, Tensor):
                self.outputs[name] = output.clone()  # what comes after may change it in place

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
        held = {name: {id(tensor) for _, tensor in _own(network.get_submodule(name))} for name in course.begun}
        cuts: list[Cut] = []
        for name, output in _candidates(course, len(images)):
            share = course.work[name] / course.total
            if cuts and share < cuts[-1].share + SPACING:
                continue
            modules = _modules_before(structure, course, name)
            apart = _parts(structure, course, held, name, modules)
            if apart and _same_from(network, name, images, output, wanted):
                behind = set(course.begun).difference(modules)
                cuts.append(Cut(name, _groups_before(structure, behind), modules, share))
    return [cut for cut in cuts if len(cut.groups) < len(structure.groups)]


def _watch(network: nn.Module, images: Tensor) -> tuple[_Course, Any]:
    course, counter = _Course(), CallCounter()
    handles = []
    try:
        for name, module in network.named_modules():
            if name:
                handles += [course.before(name, module), course.after(name, module, counter)]
        with counter:
            return course, network(images)
    finally:
        for handle in handles:
            handle.remove()


def _candidates(course: _Course, images: int) -> list[tuple[str, Tensor]]:
    """Return modules that were called once and gave a batch, and that, by the work before, the least memory first."""

    def suited(name: str, output: Tensor) -> bool:
        batch = output.dim() > 1 and len(output) == images and course.calls[name] == 1
        return batch and LEAST * course.total <= course.work[name] <= MOST * course.total

    found = [(name, output) for name, output in course.outputs.items() if suited(name, output)]
    return sorted(found, key=lambda one: (course.work[one[0]], one[1].numel(), -course.ended[one[0]]))


def _same_from(network: nn.Module, name: str, images: Tensor, output: Tensor, wanted: Tensor) -> bool:
    """Tell whether a network gives the same for no image and a module's output as for the images."""
    handle = network.get_submodule(name).register_forward_hook(lambda *_: output.clone())
    try:
        given = network(images[:0])
    except Exception:  # whatever a network does that cannot be done without images
        return False
    finally:
        handle.remove()
    return isinstance(given, Tensor) and given.dtype == wanted.dtype and torch.equal(given, wanted)


def _parts(
    structure: Structure, course: _Course, held: Mapping[str, set[int]], name: str, modules: Sequence[str]
) -> bool:
    """Tell whether nothing that lies before a module's end is changed by what comes behind it.

    It is where a convolution is refitted at an addition behind; where a module with weights is called there again; and
    where modules on both sides hold the same weights. held: which tensors each module holds itself.
    """
    end, before = course.ended[name], set(modules)
    later = {join.convolution for join in structure.trace.joins if join.index >= course.additions[name]}
    again = {one for one in before if course.calls[one] > 1 and course.last[one] > end}
    here = {number for one in before for number in held.get(one, ())}
    there = {number for one, numbers in held.items() if one not in before for number in numbers}
    return before.isdisjoint(later) and not any(held[one] for one in again) and here.isdisjoint(there)


def _modules_before(structure: Structure, course: _Course, name: str) -> tuple[str, ...]:
    """Return what is called before a module's end, and the norms of convolutions that are."""
    end = course.ended[name]
    before = [one for one, begun in course.begun.items() if begun < end]
    norms = [norm for layer, norm in structure.trace.norm.items() if layer in before]
    return tuple(dict.fromkeys([*before, *norms]))


def _groups_before(structure: Structure, behind: Collection[str]) -> tuple[str, ...]:
    """Return the groups that have a part in more than the modules behind a cut."""

    def owner(member: Member) -> str:
        return member.module.rpartition(".")[0] if member.side == "parameter" else member.module

    return tuple(group.name for group in structure.groups if not all(owner(one) in behind for one in group.members))


Part = tuple[str, int]
"""What passes, and its number: `adapt`'s images, or those of the search in one of two orders."""
ADAPTING, READING, RACING = "adapting", "reading", "racing"
REMEMBERED = 200_000
"""So many keys are known to have been seen."""


@dataclass
class Kept:
    """What is kept of candidates that are equal up to a cut: what the cut's module gave, and the weights before it.

    given: as they came. adapted: as `adapt` left them; None where it was not watched.
    """

    given: dict[str, Tensor]
    features: dict[Part, Tensor] = field(default_factory=dict)
    adapted: dict[str, Tensor] | None = None

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        tensors = [*self.given.values(), *self.features.values(), *(self.adapted or {}).values()]
        return sum(one.numel() * one.element_size() for one in tensors)


class Prefixes:
    """What earlier candidates gave at the cuts, for those that are equal up to there.

    It is kept from the second candidate on that is known to share it; what was not used for longest goes first. room:
    bytes for all of it, for each proxy in each process; None: as many as suit the machine. A copy begins with nothing.
    """

    def __init__(self, cuts: Sequence[Cut], room: int | None = None) -> None:
        self.cuts, self.wanted = list(cuts), room
        self._begin()

    def _begin(self) -> None:
        self.room = room_here() if self.wanted is None else self.wanted
        self.seen: set[bytes] = set()
        self.kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.skipped = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"cuts": self.cuts, "wanted": self.wanted}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.cuts, self.wanted = state["cuts"], state["wanted"]
        self._begin()

    def visit(self, network: nn.Module, plan: Plan) -> Visit:
        """Return what takes up a candidate, which was sliced by `plan`, wherever earlier ones allow.

        One with other weights than theirs is not taken up.
        """
        keys = keys_of(self.cuts, plan)
        start = max((place for place, key in enumerate(keys) if key in self.kept), default=None)
        known = max((place for place, key in enumerate(keys) if key in self.seen), default=None)
        if len(self.seen) > REMEMBERED:
            self.seen.clear()
        self.seen.update(keys)
        if start is not None and not _equal(network, self.kept[keys[start]].given):
            return Visit(self, network, {}, None)
        watched = {place: keys[place] for place in sorted({one for one in (start, known) if one is not None})}
        for key in watched.values():
            if key in self.kept:
                self.kept.move_to_end(key)
        return Visit(self, network, watched, start)

    def make_room(self, size: int, using: Collection[bytes]) -> bool:
        """Let go of the longest unused until there is room; False, and nothing goes, where those in use leave none."""
        held = self.bytes
        others = [key for key in self.kept if key not in using]
        if held - sum(self.kept[key].bytes for key in others) + size > self.room:
            return False
        for key in others:
            if held + size <= self.room:
                break
            held -= self.kept.pop(key).bytes
        return True

    @property
    def bytes(self) -> int:
        """How much is kept."""
        return sum(one.bytes for one in self.kept.values())


class Visit:
    """One candidate. keys: place of a cut that is watched -> key there. start: the place from which it is taken up."""

    def __init__(self, outer: Prefixes, network: nn.Module, keys: Mapping[int, bytes], start: int | None) -> None:
        self.outer, self.network, self.keys, self.start = outer, network, keys, start
        self.given = {
            place: _weights(network, outer.cuts[place].modules) for place, key in keys.items() if key not in outer.kept
        }

    @contextlib.contextmanager
    def adapting(self) -> Iterator[frozenset[str]]:
        """Run a block that passes the same images, all at once, through the network and gives its layers new weights.

        Hands it the layers that have theirs already; those are to be left alone. New weights of a layer depend on
        nothing behind it.
        """
        settled: frozenset[str] = frozenset()
        adapted = None if self.start is None else self.outer.kept[self.keys[self.start]].adapted
        if self.start is not None and adapted is not None:
            settled = frozenset(self.outer.cuts[self.start].modules)
            _give(self.network, adapted)
        with self._watched(_Pass(self, ADAPTING, self.start if settled else None)):
            yield settled
        for place, key in self.keys.items():
            kept = self.outer.kept.get(key)
            if kept is not None and kept.adapted is None and (ADAPTING, 0) in kept.features:
                weights = _weights(self.network, self.outer.cuts[place].modules)
                if self.outer.make_room(Kept(weights).bytes, self.keys.values()):
                    kept.adapted = weights

    @contextlib.contextmanager
    def reading(self, order: str) -> Iterator[None]:
        """Run a block that passes the same images, in the same parts and order, through the adapted network."""
        with self._watched(_Pass(self, order, self.start)):
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

    def put(self, place: int, part: Part, features: Tensor) -> None:
        """Keep what a cut's module gave for a part of the images, if there is room."""
        key, using = self.keys[place], self.keys.values()
        kept = self.outer.kept.get(key) or Kept(self.given[place])
        size = features.numel() * features.element_size() + (0 if key in self.outer.kept else kept.bytes)
        if not self.outer.make_room(size, using):
            return
        try:
            kept.features[part] = features.clone()  # the network may go on to change them in place
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.outer.room = 0  # what there is goes to the candidates themselves
            for other in [other for other in self.outer.kept if other not in using]:
                del self.outer.kept[other]
            return
        self.outer.kept[key] = kept


class _Pass:
    """Parts of images on their way through a visited network, from `start` on where that is known."""

    def __init__(self, visit: Visit, order: str, start: int | None) -> None:
        self.visit, self.order, self.start = visit, order, start
        self.number, self.taken_up = -1, False

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Begin with the next part of the images; with none of them, where what comes of them is known."""
        self.number += 1
        known = self._known()
        self.taken_up = known is not None and len(known) == len(inputs[0])
        if not self.taken_up:
            return None
        self.visit.outer.skipped += 1
        return (inputs[0][:0], *inputs[1:])

    def leave(self, place: int) -> Any:
        """Return the hook of a cut, which hands out what is kept, or keeps what comes."""

        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
            known = self._known()
            if self.taken_up and place == self.start and known is not None:
                return known.clone()
            if not self.taken_up or (self.start is not None and place > self.start):
                self.visit.put(place, (self.order, self.number), output)
            return None

        return hook

    def _known(self) -> Tensor | None:
        if self.start is None:
            return None
        kept = self.visit.outer.kept.get(self.visit.keys[self.start])
        return None if kept is None else kept.features.get((self.order, self.number))


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
            _find(network, name).copy_(value)


def _equal(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(_find(network, name), value) for name, value in weights.items())


def _find(network: nn.Module, name: str) -> Any:
    module, _, own = name.rpartition(".")
    return getattr(network.get_submodule(module), own)


def _own(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
