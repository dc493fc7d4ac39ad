"""Search the parameters that params.yaml declares under `tune`, and write the best values found to
its `train` section.

    python src/tune.py                                  for the estimator of train.model; auto: all
    python src/tune.py --model random_forest --trials 50

Each set of values is scored like a training: by cross-validation inside the train split, by
train.choose_by. It takes the place of the present values only if it is better by more than one
standard error. Every trial is a run in MLflow.
"""

import argparse
from typing import Any

import pandas as pd

from churn import choice, cli, runs, search, server, settings, split, table
from churn.environment import read_environment
from churn.errors import UserError
from churn.registry import Registry
from churn.schema import SPLIT, Schema, read_schema
from churn.search import Trial
from churn.settings import ESTIMATORS, Params


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--trials", type=_count, metavar="N", help="sets of values per estimator")
    parser.add_argument("--model", choices=ESTIMATORS, help="the estimator whose values to search")
    arguments = parser.parse_args()
    params = settings.read_params()
    schema = read_schema()
    estimators = [arguments.model] if arguments.model else list(params.train.estimators)
    trials = arguments.trials or params.tune.trials
    _check_spaces(params, estimators)
    rows = table.read_processed(schema, params.data.target)
    rows = rows[rows[SPLIT] == split.TRAIN]

    registry = Registry(server.connect(read_environment()))
    changes: dict[str, object] = {}
    with runs.running(registry, "tune") as parent:
        for estimator in estimators:
            done = _search(params, estimator, trials, schema, rows, registry, parent)
            found = _improvement(params, estimator, done, rows[params.data.target])
            changes |= {f"train.{estimator}.{name}": value for name, value in found.items()}
    settings.edit_params(changes)
    if changes:
        cli.step("params.yaml has the new values; next: dvc repro")


def _check_spaces(params: Params, estimators: list[str]) -> None:
    for estimator in estimators:
        if not params.tune.spaces(estimator):
            raise UserError(
                f"params.yaml declares nothing to search for {estimator}: add a parameter to"
                f" tune.{estimator}, such as `min_samples_leaf: {{low: 1, high: 50}}`"
            )


def _search(
    params: Params,
    estimator: str,
    trials: int,
    schema: Schema,
    rows: pd.DataFrame,
    registry: Registry,
    parent: runs.Run,
) -> list[Trial]:
    """All trials of one estimator, in their order; each is logged when it ends."""
    train, spaces = params.train, params.tune.spaces(estimator)
    present = train.hyperparameters(estimator)
    proposed = search.proposals(spaces, present, trials, train.seed)
    cli.step(
        f"{estimator}: {len(proposed)} sets of values for {', '.join(spaces)},"
        f" cross-validated on {len(rows):,} rows"
    )
    features, target = rows[schema.features], rows[params.data.target]
    running = search.run(train, estimator, schema, features, target, proposed)
    done = []
    for trial in cli.progress(running, estimator, len(proposed)):
        named: dict[str, Any] = {"estimator": estimator, "trial": trial.number}
        metrics = trial.candidate.metrics if trial.candidate else {}
        name = f"{estimator} {trial.number}"
        runs.record_child(registry, parent, name, named | present | trial.values, metrics)
        done.append(trial)
    return sorted(done, key=lambda trial: trial.number)


def _improvement(
    params: Params, estimator: str, trials: list[Trial], target: pd.Series
) -> dict[str, Any]:
    """The values that differ from params.yaml, where the best trial is clearly better."""
    by = params.train.choose_by
    best = search.best(trials, by)
    new, old = best.candidate, trials[0].candidate
    assert new is not None and old is not None  # noqa: S101
    measure, scored = choice.NAMES[by], f"{new.scores[by]:.4f}"
    worse, error = choice.difference(target.to_numpy(), new.probabilities, old.probabilities, by)
    if best is trials[0]:
        cli.step(f"{estimator} stays as it is: {measure} {scored} is the best of {len(trials)}")
        return {}
    if worse >= -error:
        cli.step(
            f"{estimator} stays as it is: {measure} {old.scores[by]:.4f}; the best of"
            f" {len(trials)} has {scored}, within one standard error ({error:.4f})"
        )
        return {}
    changed = {
        name: value for name, value in best.values.items() if value != trials[0].values[name]
    }
    listed = ", ".join(
        f"{name} {trials[0].values[name]} → {value}" for name, value in changed.items()
    )
    cli.step(f"{estimator}: {measure} {scored} instead of {old.scores[by]:.4f} with {listed}")
    return changed


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 10000")
    return int(text)


if __name__ == "__main__":
    cli.run(main)
