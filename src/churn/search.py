"""A random search of the parameters that params.yaml declares under `tune`."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from joblib import Parallel, delayed
from scipy import stats
from sklearn.model_selection import ParameterSampler

from churn import choice
from churn.choice import Candidate
from churn.model import TrainingError
from churn.schema import Schema
from churn.settings import Space, Train


@dataclass(frozen=True)
class Trial:
    """One set of values for an estimator's parameters; number 0 holds those of params.yaml.

    `candidate` is what cross-validation says of it, or None where it cannot be trained.
    """

    number: int
    values: dict[str, Any]
    candidate: Candidate | None


def proposals(
    spaces: dict[str, Space[Any]], present: dict[str, Any], trials: int, seed: int
) -> list[dict[str, Any]]:
    """Up to `trials` sets of values, the present ones first; `spaces` of a few values may hold
    fewer."""
    sampler = ParameterSampler(
        {name: _distribution(space) for name, space in spaces.items()},
        n_iter=trials - 1,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The total space of parameters", UserWarning)
        drawn = list(sampler)
    return [
        {name: present[name] for name in spaces},
        *({name: _rounded(value, spaces[name]) for name, value in each.items()} for each in drawn),
    ]


def run(
    train: Train,
    estimator: str,
    schema: Schema,
    features: pd.DataFrame,
    target: pd.Series,
    proposed: list[dict[str, Any]],
) -> Iterator[Trial]:
    """The trials as they end, on all cores.

    Raises TrainingError where the present values cannot be trained.
    """
    results: Iterator[Trial] = Parallel(n_jobs=-1, return_as="generator_unordered")(
        delayed(_trial)(train, estimator, schema, features, target, number, values)
        for number, values in enumerate(proposed)
    )
    return results


def best(trials: list[Trial], by: str) -> Trial:
    """The trial that does best by the measure `by`; of equal ones the first."""
    trained = [trial for trial in trials if trial.candidate]
    return min(trained, key=lambda trial: (_loss(trial, by), trial.number))


def _trial(
    train: Train,
    estimator: str,
    schema: Schema,
    features: pd.DataFrame,
    target: pd.Series,
    number: int,
    values: dict[str, Any],
) -> Trial:
    tried = train.with_hyperparameters(estimator, values)
    try:
        candidate = choice.assess(tried, estimator, schema, features, target)
    except TrainingError:  # such as a penalty so weak that the regression does not converge
        if number == 0:
            raise
        return Trial(number, values, None)
    return Trial(number, values, candidate)


def _loss(trial: Trial, by: str) -> float:
    assert trial.candidate is not None  # noqa: S101
    return choice.loss(trial.candidate.scores, by)


def _distribution(space: Space[Any]) -> Any:
    if space.values:
        return list(space.values)
    low: Any = space.low
    high: Any = space.high
    if isinstance(low, int):
        high += 1  # a whole number is cut from a range that ends one higher: each is as likely
    return stats.loguniform(low, high) if space.log else stats.uniform(low, high - low)


def _rounded(value: Any, space: Space[Any]) -> Any:
    """A drawn number as a person would write it, still inside its range."""
    low: Any = space.low
    high: Any = space.high
    if space.values:
        return value
    if isinstance(low, int):
        return min(int(value), high)
    return min(max(float(f"{value:.3g}"), low), high)
