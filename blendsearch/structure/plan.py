"""A plan says which filters stay: pure data, the same in memory and in JSON."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from blendsearch.errors import StructureError, quoted
from blendsearch.plain import State, Unchecked

SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """Kept filter indices of every group, ascending, and the group's width before pruning."""

    keep: dict[str, tuple[int, ...]]
    widths: dict[str, int]

    def __post_init__(self) -> None:
        for group, kept in self.keep.items():
            width = self.widths.get(group, 0)
            if not kept or sorted(set(kept)) != list(kept) or kept[0] < 0 or kept[-1] >= width:
                raise StructureError(
                    f"plan: group '{group}' keeps {list(kept)[:8]}; allowed: at least one index, ascending, "
                    f"each once, from 0 to {width - 1}"
                )

    @classmethod
    def full(cls, widths: Mapping[str, int]) -> Plan:
        """Return the plan that keeps everything."""
        return cls({group: tuple(range(width)) for group, width in widths.items()}, dict(widths))

    @classmethod
    def top(cls, scores: Mapping[str, Tensor], counts: Mapping[str, int]) -> Plan:
        """Keep the `counts[group]` highest scores of every group; of equal scores the lower index stays."""
        keep = {}
        for group, count in counts.items():
            order = scores[group].argsort(descending=True, stable=True)
            keep[group] = tuple(sorted(order[:count].tolist()))
        return cls(keep, {group: len(scores[group]) for group in counts})

    @property
    def counts(self) -> dict[str, int]:
        """Kept filters of every group."""
        return {group: len(kept) for group, kept in self.keep.items()}

    def masks(self) -> dict[str, Tensor]:
        """Return group -> [C], 1 for the filters that stay and 0 for the others."""
        result = {}
        for group, kept in self.keep.items():
            result[group] = torch.zeros(self.widths[group])
            result[group][list(kept)] = 1.0
        return result

    @property
    def digest(self) -> str:
        """A short fingerprint; two plans with the same digest give the same network."""
        return hashlib.sha256(json.dumps(sorted(self.keep.items())).encode()).hexdigest()[:16]

    def then(self, later: Plan) -> Plan:
        """Compose with a plan made on the network that this one left, back to the original's indices.

        Raises StructureError when the later plan is of another network.
        """
        left = self.counts
        for group, width in later.widths.items():
            if left.get(group) != width:
                raise StructureError(
                    f"plan: group '{group}' has width {width} in the later plan, "
                    f"{left.get(group, 'none')} filters are left"
                )
        keep = {g: tuple(kept[i] for i in later.keep[g]) if g in later.keep else kept for g, kept in self.keep.items()}
        return Plan(keep, dict(self.widths))

    def to_dict(self) -> State:
        """Return the JSON form."""
        groups = {g: {"width": self.widths[g], "keep": list(kept)} for g, kept in self.keep.items()}
        return {"schema": SCHEMA, "groups": groups}

    @classmethod
    def from_dict(cls, data: Unchecked) -> Plan:
        """Read the JSON form; raise StructureError when it is of another schema or not a plan."""
        if not isinstance(data, Mapping):
            raise StructureError(f"plan: {type(data).__name__} given, an object with 'schema' and 'groups' allowed")
        if data.get("schema") != SCHEMA:
            raise StructureError(f"plan: schema {quoted(data.get('schema'))} given, {SCHEMA} allowed")
        if not isinstance(data.get("groups"), Mapping):
            raise StructureError("plan: it has no 'groups' (group -> width and keep)")
        keep, widths = {}, {}
        for group, entry in data["groups"].items():
            try:
                widths[group] = operator.index(entry["width"])
                keep[group] = tuple(operator.index(i) for i in entry["keep"])
            except (KeyError, TypeError, IndexError) as error:
                raise StructureError(
                    f"plan: group '{group}' needs 'width' (an integer) and 'keep' (a list of integers)"
                ) from error
        return cls(keep, widths)
