"""Found blends from files: adapted to an experiment's network, scored, and kept as a run began with them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from blendsearch.allocation import Evolved, check_shares
from blendsearch.blending import AdaptedBlend, Blend, Scores, adapt_blend
from blendsearch.blending.blend import NO_LOSSES
from blendsearch.criteria import DropLosses, ScoringSetup, score_applicable
from blendsearch.experiment.experiment import Experiment
from blendsearch.progress import Progress, silent
from blendsearch.results.reading import taken_from
from blendsearch.results.records.scoring import MemberRecord
from blendsearch.results.run_folder import RunFolder
from blendsearch.statistics import Batches
from blendsearch.structure import Structure

RECORD = "records/blends.json"

SHARES_UNUSED = (
    "The blend '{}' also has shares of the layers, found in its search; here every allocation shares out the budget "
    "for it as for the criteria."
)


def adapt_to_network(experiment: Experiment, blend: Blend) -> AdaptedBlend:
    """Return the blend for this network and the rule that made it fit; ConfigError when it has no shares to use.

    Before any training.
    """
    adapted = adapt_blend(blend, experiment.structure)
    check_shares(experiment.allocation, adapted.blend.keep)
    return adapted


def tell_unused_shares(experiment: Experiment, blend: Blend) -> str:
    """Return what is to be known of a blend's shares where the space's allocation does not use them; else nothing."""
    if not blend.keep or isinstance(experiment.allocation, Evolved):
        return ""
    return "The blend also has shares of the layers, found in its search; allocation=evolved would use them."


def tell_shares_of_members(blends: Mapping[str, Blend]) -> list[str]:
    """Return a sentence for each found blend whose own shares of the layers have no part here."""
    return [SHARES_UNUSED.format(name) for name, blend in blends.items() if blend.keep]


def blend_scores(blend: Blend, scores: Scores, losses: DropLosses = NO_LOSSES) -> dict[str, Tensor]:
    """Score groups by a blend; one of a single criterion or member is that one, with its scores as they are.

    losses: what dropping filters costs, for blends that are set-aware.
    """
    name = blend.single_term
    if name is None:
        return blend.score(scores, losses)
    return dict(scores[name]) if name in scores else blend_scores(blend.members[name], scores, losses)


def score_by_blend(
    blend: Blend,
    network: nn.Module,
    structure: Structure,
    batches: Batches,
    setup: ScoringSetup,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Score any network by a blend, from statistics gathered for it; BlendsearchError where a criterion cannot."""
    found = score_applicable(network, structure, batches, blend.criteria, setup, progress, set_aware=blend.set_aware)
    return blend_scores(blend, found.complete(), found.losses)


def adapt_members(experiment: Experiment) -> dict[str, AdaptedBlend]:
    """Return name -> blend of the space's files, adapted to its network; BlendsearchError for a file that is gone."""
    return {one.label: adapt_blend(Blend.load(one.file), experiment.structure) for one in experiment.space.blends}


def keep_members(experiment: Experiment) -> dict[str, AdaptedBlend]:
    """Return the space's blends as `adapt_members` does, or, whatever is in their files now, as a stopped run had them.

    Written down where there are some.
    """
    files = {one.label: one.file for one in experiment.space.blends}
    if not files:
        return {}

    def describe() -> dict[str, MemberRecord]:
        return {
            name: MemberRecord(file=files[name], rule=adapted.rule, blend=adapted.blend.to_dict())
            for name, adapted in adapt_members(experiment).items()
        }

    records = experiment.folder.cached(RECORD, dict[str, MemberRecord], describe)
    with taken_from(experiment.folder / RECORD):
        return {name: AdaptedBlend(Blend.from_dict(one.blend), one.rule) for name, one in records.items()}


def criteria_of(members: Mapping[str, AdaptedBlend]) -> list[str]:
    """Return the criteria that it takes to score by the blends, each once."""
    return list(dict.fromkeys(name for adapted in members.values() for name in adapted.blend.criteria))


def score_members(members: Mapping[str, AdaptedBlend], scores: Scores, losses: DropLosses = NO_LOSSES) -> Scores:
    """Return name -> group -> [C] of the blends; scores: of all their criteria. losses: see `blend_scores`."""
    return {name: blend_scores(adapted.blend, scores, losses) for name, adapted in members.items()}


def read_members(folder: RunFolder) -> dict[str, Blend]:
    """Return the blends that a run has among its criteria, as they were adapted to its network."""
    records = folder.read_record(RECORD, dict[str, MemberRecord]) if folder.has(RECORD) else {}
    with taken_from(folder / RECORD):
        return {name: Blend.from_dict(record.blend) for name, record in records.items()}
