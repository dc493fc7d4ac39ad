"""Train the model that params.yaml names: data/processed.csv → models/model.joblib, one MLflow run
and one new version of churn_model. models/model.skops is the same model for the next stage.

    dvc repro                                     train and evaluate what has changed
    dvc exp run -S train.model=random_forest      try another estimator
    dvc exp run -S train.model=auto               let cross-validation choose

Estimator, calibration and threshold come from cross-validation inside the train split. The test
split is only used to compare the compiled model with the fitted one.
"""

import joblib

from churn import (
    choice,
    cli,
    compiler,
    files,
    mirror,
    model,
    paths,
    server,
    settings,
    skopsfile,
    split,
    table,
    tracking,
)
from churn.environment import read_environment
from churn.registry import MODEL, Registry
from churn.schema import SPLIT, read_schema


def main() -> None:
    cli.parser(__doc__).parse_args()
    params = settings.read_params()
    schema = read_schema()
    processed = table.read_processed(schema, params.data.target)
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

    environment = read_environment()
    registry = Registry(server.connect(environment))
    with files.replacing(paths.MODEL) as exported, files.replacing(paths.MODEL_SKOPS) as stored:
        joblib.dump(fitted, exported)
        skopsfile.write(fitted, stored)
        version = tracking.log_training(
            registry, params, decided, fitted, described, compiled, exported
        )
    training = {"version": version.number, "run_id": version.run_id, "choice": decided.summary}
    files.write_json(paths.TRAINING, training)
    mirror.write(registry)
    cli.step(
        f"{MODEL} version {version.number}: {chosen.estimator}, cross-validated F1"
        f" {chosen.scores['f1']:.3f} at threshold {chosen.threshold:g}, ROC-AUC"
        f" {chosen.scores['roc_auc']:.3f};"
        f" {registry.run_url(version.run_id)}"
    )


if __name__ == "__main__":
    cli.run(main)
