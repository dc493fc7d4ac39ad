"""Train the model that params.yaml names: data/processed.csv → models/model.joblib, one MLflow run
and one new version of churn_model.

    dvc repro                                     train and evaluate what has changed
    dvc exp run -S train.model=random_forest      try another estimator

The threshold comes from cross-validation inside the train split; the test split is not looked at.
"""

import joblib

from churn import (
    cli,
    files,
    metrics,
    mirror,
    model,
    paths,
    server,
    settings,
    split,
    table,
    tracking,
)
from churn.registry import MODEL, Registry
from churn.schema import SPLIT, read_schema


def main() -> None:
    cli.parser(__doc__).parse_args()
    params = settings.read_params()
    schema = read_schema()
    rows = table.read_processed(schema, params.data.target)
    rows = rows[rows[SPLIT] == split.TRAIN]
    features, target = rows[schema.features], rows[params.data.target]

    pipeline = model.build(params.train, schema)
    cli.step(f"training {params.train.model} on {len(rows):,} rows")
    unseen = model.out_of_fold_probabilities(pipeline, features, target, params.train.seed)
    threshold = model.best_f1_threshold(target.to_numpy(), unseen)
    fitted = model.fit(model.with_threshold(pipeline, threshold), features, target)
    described = model.describe(fitted, features, schema, params.data)
    scores = metrics.score(target.to_numpy(), unseen, threshold)

    environment = settings.read_environment()
    registry = Registry(server.connect(environment))
    with files.replacing(paths.MODEL) as exported:
        joblib.dump(fitted, exported)
        version = tracking.log_training(registry, params, fitted, described, scores, exported)
    files.write_json(paths.TRAINING, {"version": version.number, "run_id": version.run_id})
    mirror.write(registry)
    cli.step(
        f"{MODEL} version {version.number}: cross-validated F1 {scores['f1']:.3f} at threshold"
        f" {threshold:g}, ROC-AUC {scores['roc_auc']:.3f};"
        f" {tracking.run_url(registry, version.run_id)}"
    )


if __name__ == "__main__":
    cli.run(main)
