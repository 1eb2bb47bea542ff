"""The network scored under a space's criteria and found blends, and what scores it again once it was pruned."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from blendsearch.blending import (
    AdaptedBlend,
    Blend,
    Clusters,
    Scores,
    agreement,
    cluster,
    rank_all,
)
from blendsearch.criteria import (
    ApplicableScores,
    DropLosses,
    ScoringSetup,
    applicable,
    names,
    score_applicable,
)
from blendsearch.data.batches import Split
from blendsearch.errors import BlendsearchError, RunError
from blendsearch.experiment.experiment import Experiment
from blendsearch.experiment.losses import losses_for, write_losses
from blendsearch.experiment.members import (
    adapt_members,
    blend_scores,
    criteria_of,
    keep_members,
    score_by_blend,
    score_members,
)
from blendsearch.results.records.common import AgreementRecord
from blendsearch.results.records.scoring import ScoresRecord
from blendsearch.results.run_folder import RunFolder
from blendsearch.statistics import Statistics
from blendsearch.statistics.ratings import ratings_of
from blendsearch.structure import Structure

SCORES = "scores.safetensors"
AGREEMENT = "records/agreement.json"


@dataclass
class BlendScorer:
    """Scores a network by a blend (a base criterion is a blend of one).

    known, losses: scores, and for a set-aware blend drop losses, of the network as it was when `structure` was read
    from it; any other network gets statistics of its own from the calibration split.
    """

    blend: Blend
    known: Scores
    structure: Structure
    calibration: Split
    setup: ScoringSetup
    losses: DropLosses = field(default_factory=dict)

    @classmethod
    def of(cls, experiment: Experiment, blend: Blend, known: Scores) -> BlendScorer:
        """Return the scorer of an experiment's network by a blend."""
        losses = losses_for(experiment, [blend])
        return cls(blend, known, experiment.structure, experiment.splits.calibration, experiment.scoring, losses)

    def __call__(self, network: nn.Module, structure: Structure) -> dict[str, Tensor]:
        if structure is self.structure:
            return blend_scores(self.blend, self.known, self.losses)
        return score_by_blend(self.blend, network, structure, self.calibration.batches(128), self.setup)


def score_criteria(experiment: Experiment) -> tuple[Scores, ScoresRecord]:
    """Score the network under the space's criteria and its blends, or read what a stopped run scored.

    With criteria "all", those that do not apply to this network are left out, and the record says why; a
    criterion asked for by name that does not apply is an error.
    """
    folder, name = experiment.folder, "records/scores.json"
    if folder.has(name):
        record = folder.read_record(name, ScoresRecord)
        scores = read_scores(folder, SCORES, record.criteria)
        _check_scores(scores, experiment.structure.widths, folder / SCORES)
        return scores, record
    start = time.perf_counter()
    members = keep_members(experiment)
    set_aware = experiment.space.blend.set_aware or any(one.blend.set_aware for one in members.values())
    found = score_calibration(experiment, needed_criteria(experiment, members), set_aware=set_aware)
    refuse_left_out(experiment, members, found.left_out)
    scores, wanted = pick_scores(experiment, members, found), wanted_criteria(experiment)
    if set_aware:
        write_losses(folder, found.losses)
    record = ScoresRecord(
        seconds=round(time.perf_counter() - start, 3),
        criteria=list(scores),
        left_out={name: reason for name, reason in found.left_out.items() if name in wanted},
        samples=found.samples,
        scales={name: scales for name, scales in found.scales.items() if name in scores},
    )
    write_scores(folder, SCORES, scores)
    folder.write_record(name, record)
    folder.event("statistics", **record.model_dump(mode="json", exclude={"scales"}))
    return scores, record


def score_calibration(experiment: Experiment, criteria: Sequence[str], *, set_aware: bool = False) -> ApplicableScores:
    """Score the network as it is now under the criteria that apply, from the calibration split.

    set_aware: also return its drop losses.
    """
    split = experiment.splits.calibration
    batches = -(-len(split) // 128)
    return score_applicable(
        experiment.network,
        experiment.structure,
        split.batches(128),
        criteria,
        experiment.scoring,
        progress=lambda task, done, total, detail="": experiment.progress(task, done, total or batches, detail),
        set_aware=set_aware,
    )


def check_criteria(experiment: Experiment) -> None:
    """Raise BlendsearchError when a criterion asked for by name, or one of a blend, cannot score this network.

    By what is known before any training: DataError for ratings of another network.
    """
    members = adapt_members(experiment)
    criteria = list(dict.fromkeys([*named_criteria(experiment), *criteria_of(members)]))
    known = known_before_training(experiment)
    if criteria:
        refuse_left_out(experiment, members, applicable(criteria, experiment.structure, known))


def known_before_training(experiment: Experiment) -> Statistics:
    """Return what is known of a network before it is trained; DataError for ratings of another network."""
    known = Statistics.of_weights(experiment.network, experiment.structure)
    if experiment.ratings is not None:
        known.ratings = ratings_of(experiment.structure, experiment.ratings)
        known.fallback = experiment.ratings.fallback
    return known


def refuse_left_out(experiment: Experiment, members: Mapping[str, AdaptedBlend], left_out: Mapping[str, str]) -> None:
    """Raise BlendsearchError with a line for each criterion that was asked for, by itself or in a blend, in vain."""
    lines = [f"criteria: '{name}': {left_out[name]}" for name in named_criteria(experiment) if name in left_out]
    for label, adapted in members.items():
        lines += [f"blends: '{label}': '{n}': {left_out[n]}" for n in adapted.blend.criteria if n in left_out]
    if lines:
        raise BlendsearchError(*lines)


def wanted_criteria(experiment: Experiment) -> list[str]:
    """Return the criteria that the space asks for; with "all" every one that is registered."""
    criteria = experiment.space.criteria
    return names() if criteria == "all" else list(criteria)


def named_criteria(experiment: Experiment) -> list[str]:
    """Return the criteria that the space asks for by name; none with "all", which takes those that apply."""
    return [] if experiment.space.criteria == "all" else wanted_criteria(experiment)


def needed_criteria(experiment: Experiment, members: Mapping[str, AdaptedBlend]) -> list[str]:
    """Return the criteria that must be scored: those that the space asks for, and those inside its blends."""
    return list(dict.fromkeys([*wanted_criteria(experiment), *criteria_of(members)]))


def pick_scores(experiment: Experiment, members: Mapping[str, AdaptedBlend], found: ApplicableScores) -> Scores:
    """Return the scores of the criteria that the space asks for, and of its blends, out of those of all it took."""
    own = {name: found.scores[name] for name in wanted_criteria(experiment) if name in found.scores}
    return own | score_members(members, found.scores, found.losses)


def write_scores(folder: RunFolder, name: str, scores: Scores) -> None:
    """Write scores as one file of tensors."""
    flat = {f"{criterion}/{group}": t for criterion, groups in scores.items() for group, t in groups.items()}
    folder.write_tensors(name, flat)


def read_scores(folder: RunFolder, name: str, criteria: Sequence[str]) -> Scores:
    """Read what `write_scores` wrote, in the order of the criteria."""
    flat = folder.read_tensors(name)
    return {
        criterion: {
            key[len(criterion) + 1 :]: tensor for key, tensor in flat.items() if key.startswith(f"{criterion}/")
        }
        for criterion in criteria
    }


def _check_scores(scores: Scores, widths: Mapping[str, int], path: Path) -> None:
    """Raise RunError where a file's scores are not one number for every filter of this network."""
    for name, groups in scores.items():
        odd = [group for group, width in widths.items() if group not in groups or groups[group].shape != (width,)]
        if odd:
            raise RunError(f"{path}: {name}/{odd[0]}: scores of {widths[odd[0]]} filters are needed, one number each")


def measure_agreement(scores: Scores) -> AgreementRecord:
    """Return Spearman's rho between the criteria of scores, for each group and as mean over the groups."""
    by_group = agreement(rank_all(scores))
    matrices = list(by_group.values())
    return AgreementRecord(
        criteria=list(scores),
        groups={group: matrix.tolist() for group, matrix in by_group.items()},
        mean=(sum(matrices[1:], matrices[0]) / len(matrices)).tolist(),
    )


def cluster_by(experiment: Experiment, scores: Scores, unit: str) -> Clusters:
    """Cluster the criteria by rank for every stage, every layer or the whole network."""
    section = experiment.space.clusters
    return cluster(
        rank_all(scores),
        experiment.structure.units(unit),
        unit=unit,
        count=section.count,
        method=section.method,
        max_count=section.max_count,
        seed=experiment.seed("clusters"),
    )


def cluster_criteria(experiment: Experiment, scores: Scores) -> Clusters:
    """Cluster the criteria by rank in each (of several the finest) unit; write down how they agree and cluster."""
    experiment.folder.write_record(AGREEMENT, measure_agreement(scores))
    clusters = cluster_by(experiment, scores, experiment.space.blend.units[-1])
    experiment.folder.write_json("records/clusters.json", clusters.to_dict())
    return clusters
