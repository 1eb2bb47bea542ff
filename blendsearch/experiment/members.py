"""Found blends as criteria of a campaign: fitted to its network, scored, and kept inside the blends that use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blendsearch.blending import AdaptedBlend, Blend, Scores, adapt_blend
from blendsearch.config import Space
from blendsearch.experiment.contenders import Contender
from blendsearch.experiment.scoring import blended
from blendsearch.results.run_folder import RunFolder
from blendsearch.structure import Structure

RECORD = "records/blends.json"


def adapt_members(space: Space, structure: Structure) -> dict[str, AdaptedBlend]:
    """Return name -> blend of the space's files, fitted to a network; BlendsearchError for a file that is gone."""
    return {one.label: adapt_blend(Blend.load(one.file), structure) for one in space.blends}


def criteria_in(members: Mapping[str, AdaptedBlend]) -> list[str]:
    """Return the criteria that it takes to score by the blends, each once."""
    return list(dict.fromkeys(name for fitted in members.values() for name in fitted.blend.criteria))


def member_scores(members: Mapping[str, AdaptedBlend], scores: Scores) -> Scores:
    """Return name -> group -> [C] of the blends; scores: of all their criteria."""
    return {name: blended(fitted.blend, scores) for name, fitted in members.items()}


def note_members(folder: RunFolder, space: Space, members: Mapping[str, AdaptedBlend]) -> None:
    """Write down the blends that a campaign has among its criteria, and by which rule each was fitted."""
    files = {one.label: one.file for one in space.blends}
    record = {
        name: {"file": files[name], "rule": fitted.rule, "blend": fitted.blend.to_dict()}
        for name, fitted in members.items()
    }
    folder.write_json(RECORD, record)


def self_contained(folder: RunFolder, contenders: Mapping[str, Contender]) -> dict[str, Contender]:
    """Return contenders whose blends hold the members they use, so that they can be scored and saved by themselves."""
    record = folder.read_json(RECORD) if folder.has(RECORD) else {}
    members = {name: Blend.from_dict(entry["blend"]) for name, entry in record.items()}
    return {name: replace(one, blend=one.blend.with_members(members)) for name, one in contenders.items()}
