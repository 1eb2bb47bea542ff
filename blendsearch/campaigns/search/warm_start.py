"""Warm start: blends from files that join the first population of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from blendsearch.blending import Blend, adapt_blend
from blendsearch.campaigns.search.phases import Phase, Starts
from blendsearch.config import BLEND_UNITS
from blendsearch.evolution.refine import check_known, refine_blend
from blendsearch.experiment.experiment import Experiment
from blendsearch.results.reading import taken_from
from blendsearch.results.records.search import StartRecord

RECORD = "records/start_from.json"


def encode_given_blends(experiment: Experiment, phases: Sequence[Phase], criteria: Sequence[str]) -> Starts:
    """Return the genomes of the space's blends for each phase that they join; write down what became of them.

    A blend joins the first phase, and every later one up to that of its own unit, so that nothing that was averaged
    for a coarse phase is lost. A blend of another network is adapted first. What a stopped run read is not read again.
    Raises BlendsearchError for a blend with criteria that the campaign does not have.
    """
    starts: Starts = {phase.unit: {} for phase in phases}
    given, folder = experiment.space.search.start_from, experiment.folder
    if given is None:
        return starts
    records = (
        folder.read_record(RECORD, list[StartRecord])
        if folder.has(RECORD)
        else [_read(experiment, path, criteria) for path in given]
    )
    with taken_from(folder / RECORD):
        noted = [_encode(experiment, phases, record, starts) for record in records]
    folder.write_record(RECORD, noted, list[StartRecord])
    return starts


def _read(experiment: Experiment, path: str, criteria: Sequence[str]) -> StartRecord:
    blend = Blend.load(path)
    check_known(blend, criteria, f"search.start_from: {path}")
    adapted = adapt_blend(blend, experiment.structure)
    return StartRecord(path=path, rule=adapted.rule, blend=adapted.blend.to_dict())


def _encode(experiment: Experiment, phases: Sequence[Phase], record: StartRecord, starts: Starts) -> StartRecord:
    """Put a blend's genome into the starts of the phases that it joins; return its record with what had no room."""
    blend, dropped = Blend.from_dict(record.blend, record.path), dict(record.dropped)
    for phase in phases:
        if phase is not phases[0] and BLEND_UNITS.index(phase.unit) > BLEND_UNITS.index(blend.unit):
            continue
        starts[phase.unit][record.path], left = refine_blend(phase.genomes, blend)
        if phase.unit not in dropped:
            dropped[phase.unit] = [asdict(one) for one in left]
            experiment.folder.event(
                "start_from", path=record.path, unit=phase.unit, rule=record.rule, dropped=dropped[phase.unit]
            )
    return record.model_copy(update={"dropped": dropped})
