"""Evaluate the trained model on the test split: models/model.joblib → reports/, and the version's
gate verdict.

    dvc repro
    dvc metrics show        the metrics of reports/metrics.json
    dvc plots show          the plots of reports/plots

A version that fails its gate stays registered, is marked with the reason, and is not promoted.
"""

import json
import time
from pathlib import Path

import joblib

from churn import (
    cli,
    files,
    gate,
    metrics,
    mirror,
    model,
    paths,
    plots,
    server,
    settings,
    split,
    table,
)
from churn.errors import UserError
from churn.registry import MODEL, TRAIN_AGAIN, Registry
from churn.rest import NotFound
from churn.schema import SPLIT, read_schema


def main() -> None:
    cli.parser(__doc__).parse_args()
    params = settings.read_params()
    schema = read_schema()
    rows = table.read_processed(schema, params.data.target)
    rows = rows[rows[SPLIT] == split.TEST]
    features, target = rows[schema.features], rows[params.data.target].to_numpy()
    training = read_training()
    fitted = joblib.load(paths.MODEL)

    probabilities = model.probability(fitted, features)
    scores = metrics.score(target, probabilities, fitted.threshold)
    intervals = metrics.intervals(target, probabilities, fitted.threshold, params.train.seed)
    naive = metrics.naive_f1(float(target.mean()))
    verdict = gate.decide(scores, intervals, naive, params.evaluate.gate_f1)
    drawn = plots.tables(
        fitted, features, target, probabilities, fitted.threshold, params.train.seed
    )
    paths.PLOTS.mkdir(parents=True, exist_ok=True)
    images = plots.write(drawn, fitted.threshold, paths.PLOTS)

    registry = Registry(server.connect(settings.read_environment()))
    reported = scores | metrics.flat(intervals)
    log_evaluation(registry, training["run_id"], reported, images)
    registry.record_verdict(training["version"], verdict, params.evaluate.gate_f1)
    mirror.write(registry)
    files.write_json(paths.METRICS, reported)
    cli.step(f"{MODEL} version {training['version']} {verdict.word} its gate: {verdict.reason}")
    if verdict.passed:
        cli.step("next: python src/promote.py")


def read_training() -> dict[str, str]:
    """The version and run that train.py made together with the exported model."""
    try:
        training: dict[str, str] = json.loads(paths.TRAINING.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{paths.shown(paths.TRAINING)} is missing; `dvc repro train` makes it"
        ) from None
    return training


def log_evaluation(
    registry: Registry, run_id: str, reported: dict[str, float], images: list[Path]
) -> None:
    """Add the test metrics and the images to the run that trained the model."""
    now = time.time_ns() // 1_000_000
    entries = [
        {"key": name, "value": value, "timestamp": now, "step": 0}
        for name, value in reported.items()
    ]
    try:
        run = registry.mlflow.get("runs/get", run_id=run_id)["run"]
    except NotFound:
        raise UserError(
            f"the model was trained on another MLflow server: {registry.mlflow.uri} has no run"
            f" {run_id}; `{TRAIN_AGAIN}` trains on this one"
        ) from None
    registry.mlflow.post("runs/log-batch", run_id=run_id, metrics=entries)
    artifacts = run["info"]["artifact_uri"]
    for image in images:
        registry.mlflow.put_artifact(f"{artifacts}/plots/{image.name}", image.read_bytes())


if __name__ == "__main__":
    cli.run(main)
