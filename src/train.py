"""Train the model that params.yaml names: data/processed.csv → models/model.joblib, one MLflow run
and one new version of churn_model. models/model.skops is the same model for the next stage.

    dvc repro                                     train and evaluate what has changed
    dvc exp run -S train.model=random_forest      try another estimator
    dvc exp run -S train.model=auto               let cross-validation choose

Estimator, calibration and threshold come from cross-validation inside the train split. The test
split is only used to compare the compiled model with the fitted one.

A training that was interrupted when all of it was in MLflow is finished, not repeated. The run of
one of which less was there is marked as killed.
"""

import pandas as pd

from churn import (
    choice,
    cli,
    compiler,
    dvc,
    journal,
    mirror,
    model,
    server,
    settings,
    split,
    stage,
    table,
    tracking,
)
from churn.environment import read_environment
from churn.journal import Entry
from churn.registry import MODEL, Registry
from churn.schema import SPLIT, Schema, read_schema
from churn.settings import Params
from churn.tracking import Logged


def main() -> None:
    cli.parser(__doc__).parse_args()
    stage.begin()
    params = settings.read_params()
    schema = read_schema()
    processed = table.read_processed(schema, params.data.target)
    registry = Registry(server.connect(read_environment()))

    inputs = journal.inputs()
    finishing = interrupted(registry, inputs)
    entry, logged = finishing or train(registry, inputs, params, schema, processed)
    # It may have been made by the one that was interrupted.
    version = registry.version_of(logged.run_id) or registry.register(
        logged.run_id, logged.model_id, entry.tags
    )
    journal.take_up(entry, version)
    mirror.write(registry)
    if not dvc.runs_this():  # else evaluate.py closes it, when DVC has recorded this stage
        journal.close()
    chosen = entry.choice["compared"][0]
    cli.step(
        f"{MODEL} version {version.number}: {chosen['estimator']}, cross-validated F1"
        f" {chosen['f1']:.3f} at threshold {chosen['threshold']:g}, ROC-AUC"
        f" {chosen['roc_auc']:.3f};"
        f" {registry.run_url(version.run_id)}"
    )


def interrupted(registry: Registry, inputs: str) -> tuple[Entry, Logged] | None:
    """The training that was interrupted when all of it was in MLflow, if its inputs are still the
    same. One of which less is there is marked as killed."""
    entry = journal.read()
    if entry is None or journal.is_recorded(entry):
        return None
    logged = tracking.settle(registry, entry.id)
    if logged is None:
        return None
    if entry.inputs != inputs:
        cli.step(f"run {logged.run_id} was interrupted, and its inputs have changed since")
        return None
    cli.step(f"run {logged.run_id} was interrupted when its training was done: it is finished")
    return entry, logged


def train(
    registry: Registry, inputs: str, params: Params, schema: Schema, processed: pd.DataFrame
) -> tuple[Entry, Logged]:
    """Choose, fit and compile the model, and log all of it to MLflow."""
    journal.begin()
    rows = processed[processed[SPLIT] == split.TRAIN]
    features, target = rows[schema.features], rows[params.data.target]

    cli.step(f"training {' or '.join(params.train.estimators)} on {len(rows):,} rows")
    candidates = choice.compare(params.train, schema, features, target)
    decided = choice.choose(candidates, target.to_numpy(), params.train.choose_by)
    if len(candidates) > 1:
        for line in decided.table():
            cli.step(line)
    cli.step(decided.reason)
    chosen = decided.chosen
    fitted = model.fit(chosen.classifier(params.train, schema, target), features, target)
    described = model.describe(fitted, features, schema, params.data, params.split)
    compiled = compiler.compiled(fitted, described, processed[schema.features])
    cli.step(
        f"compiled: {len(compiled.scorer_file) / 1e6:.2f} MB, within {compiled.difference:.1g} of"
        f" the pipeline's probabilities on {compiled.rows:,} rows"
    )

    exported = journal.export(fitted)
    tags = tracking.tags(params.train, chosen, compiled, exported)
    entry = journal.write(inputs, tags, decided.summary)
    return entry, tracking.log_training(
        registry, params, decided, fitted, described, compiled, exported, entry
    )


if __name__ == "__main__":
    cli.run(main)
