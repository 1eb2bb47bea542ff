"""Finished trials as rows of Optuna's own tables, all of one trial at once.

Optuna's `add_trial` asks the database, for each gene of each trial, whether an earlier trial of the study has one of
that name with another range: time that grows with the genes, and, where names are new, with the trials before. Our
genes all have one range. What is written is the same, row by row.
"""

from __future__ import annotations

import json
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

Rows = list[dict[str, Any]]


def write_trial(storage: RDBStorage, study_id: int, trial: FrozenTrial) -> None:
    """Add a finished trial to a study in one transaction, numbered after those that are there.

    Raises SQLAlchemyError where the database does not take it, or the study is gone.
    """
    study, trials = models.StudyModel, models.TrialModel
    with Session(storage.engine) as session, session.begin():
        # Whoever else adds a trial waits here, so that no number comes twice.
        session.execute(select(study.study_id).where(study.study_id == study_id).with_for_update()).scalar_one()
        number = session.execute(select(func.count(trials.trial_id)).where(trials.study_id == study_id)).scalar_one()
        row = trials(
            study_id=study_id,
            number=number,
            state=trial.state,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
        )
        session.add(row)
        session.flush()
        for table, rows in _rows(int(row.trial_id), trial):
            if rows:
                session.execute(insert(table), rows)


def _rows(trial_id: int, trial: FrozenTrial) -> list[tuple[Any, Rows]]:
    """Return what belongs to a trial, table by table, as Optuna writes it."""
    value_of = models.TrialValueModel.value_to_stored_repr
    step_of = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    values: Rows = [
        dict(zip(("value", "value_type"), value_of(value), strict=True)) | {"objective": objective}
        for objective, value in enumerate(trial.values or ())
    ]
    params: Rows = [
        {
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]
    steps: Rows = [
        dict(zip(("intermediate_value", "intermediate_value_type"), step_of(value), strict=True)) | {"step": step}
        for step, value in trial.intermediate_values.items()
    ]
    parts: list[tuple[Any, Rows]] = [
        (models.TrialValueModel, values),
        (models.TrialParamModel, params),
        (models.TrialUserAttributeModel, _attributes(trial.user_attrs)),
        (models.TrialSystemAttributeModel, _attributes(trial.system_attrs)),
        (models.TrialIntermediateValueModel, steps),
    ]
    return [(table, [{"trial_id": trial_id, **row} for row in rows]) for table, rows in parts]


def _attributes(attributes: dict[str, Any]) -> Rows:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
