"""Warm start: blends from files that join the first population of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from blendsearch.blending import Blend, adapt_blend
from blendsearch.campaigns.search.phases import Phase
from blendsearch.config import BLEND_UNITS
from blendsearch.evolution.genome import GenomeSpace
from blendsearch.evolution.refine import check_known, encoded
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.run_folder import RunFolder

RECORD = "records/start_from.json"

Starts = dict[str, dict[str, np.ndarray]]
"""Unit of a phase -> path of a blend -> its genome there."""


def given_starts(experiment: Experiment, folder: RunFolder, phases: Sequence[Phase], criteria: Sequence[str]) -> Starts:
    """Return the genomes of the space's blends for each phase that they join; write down what became of them.

    A blend joins the first phase, and every later one up to that of its own unit, so that nothing that was averaged
    for a coarse phase is lost. A blend of another network is fitted first. What a stopped run read is not read again.
    Raises BlendsearchError for a blend with criteria that the campaign does not have.
    """
    starts: Starts = {phase.unit: {} for phase in phases}
    given = experiment.space.search.start_from
    if given is None:
        return starts
    record = folder.read_json(RECORD) if folder.has(RECORD) else [_read(experiment, path, criteria) for path in given]
    for entry in record:
        blend = Blend.from_dict(entry["blend"], entry["path"])
        for phase in phases:
            if phase is phases[0] or BLEND_UNITS.index(phase.unit) <= BLEND_UNITS.index(blend.unit):
                starts[phase.unit][entry["path"]] = _encoded(folder, phase.genomes, entry, blend)
    folder.write_json(RECORD, record)
    return starts


def _read(experiment: Experiment, path: str, criteria: Sequence[str]) -> dict[str, Any]:
    blend = Blend.load(path)
    check_known(blend, criteria, f"search.start_from: {path}")
    fitted = adapt_blend(blend, experiment.structure)
    return {"path": path, "rule": fitted.rule, "blend": fitted.blend.to_dict(), "dropped": {}}


def _encoded(folder: RunFolder, genomes: GenomeSpace, entry: dict[str, Any], blend: Blend) -> np.ndarray:
    """Return a blend's genome, and note for its unit what the genome had no room for."""
    genome, dropped = encoded(genomes, blend)
    unit = genomes.clusters.unit
    if unit not in entry["dropped"]:
        entry["dropped"][unit] = [asdict(one) for one in dropped]
        folder.event("start_from", path=entry["path"], unit=unit, rule=entry["rule"], dropped=entry["dropped"][unit])
    return genome
