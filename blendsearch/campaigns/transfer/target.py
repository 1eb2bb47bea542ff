"""A space that a blend is applied to, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass

from blendsearch.blending import AdaptedBlend, Blend, adapt_blend
from blendsearch.config import Space
from blendsearch.criteria import applicable
from blendsearch.errors import BlendsearchError
from blendsearch.experiment import Experiment, check_before_work
from blendsearch.experiment.members import adapt_to_network, tell_unused_shares
from blendsearch.experiment.scoring import known_before_training, wanted_criteria
from blendsearch.progress import Progress
from blendsearch.schedules import Schedule
from blendsearch.validation.space import pruning_schedule

JOB = "transfer"


@dataclass(frozen=True)
class Target:
    """A space that the blend is applied to; added: the blend's criteria that the space does not have itself."""

    experiment: Experiment
    schedule: Schedule
    adapted: AdaptedBlend
    added: tuple[str, ...]

    @classmethod
    def load(cls, space: Space, blend: Blend, progress: Progress) -> Target:
        """Adapt the blend to the space's network; BlendsearchError, naming the space, before any work is done."""
        try:
            schedule = pruning_schedule(space, JOB)
            experiment = Experiment(space, progress).connect()
            check_before_work(experiment)
            adapted = adapt_to_network(experiment, blend)
            missing = applicable(blend.criteria, experiment.structure, known_before_training(experiment))
            for name, reason in missing.items():
                raise BlendsearchError(f"the blend's criterion '{name}': {reason}")
            _check_members(adapted.blend, experiment)
        except BlendsearchError as error:
            raise type(error)(f"{space.name}: {error}") from None
        own = wanted_criteria(experiment)
        return cls(experiment, schedule, adapted, tuple(name for name in blend.criteria if name not in own))

    @property
    def notes(self) -> list[str]:
        """What is to be known beside the numbers: criteria scored for the blend alone, shares not used."""
        notes = []
        if self.added:
            names, are = ", ".join(self.added), "is" if len(self.added) == 1 else "are"
            notes.append(f"{names} of the blend {are} not among the space's criteria and scored for the blend alone.")
        shares = tell_unused_shares(self.experiment, self.adapted.blend)
        return [*notes, shares] if shares else notes


def _check_members(blend: Blend, experiment: Experiment) -> None:
    """Raise BlendsearchError where the space calls another blend by the name of a member: each goes by one score."""
    for name, member in blend.members.items():
        for one in experiment.space.blends:
            if one.label == name and adapt_blend(Blend.load(one.file), experiment.structure).blend != member:
                raise BlendsearchError(
                    f"blends: '{name}' is another blend than the transferred one's member of that name; give it "
                    "another name"
                )
        _check_members(member, experiment)
