"""Evaluate the trained model on the test split: models/model.skops → reports/, and the version's
gate verdict.

    dvc repro
    dvc metrics show        the metrics of reports/metrics.json
    dvc plots show          the plots of reports/plots
    reports/model_card.html     all of it on one page, to read and to print

A version that fails its gate stays registered, is marked with the reason, and is not promoted.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from churn import (
    card,
    challenge,
    cli,
    dataset,
    evaluation,
    files,
    gate,
    journal,
    metrics,
    mirror,
    model,
    paths,
    plots,
    runs,
    segments,
    server,
    settings,
    skopsfile,
    split,
    stage,
    table,
)
from churn.environment import read_environment
from churn.errors import UserError
from churn.ledger import Ledger
from churn.lifecycle import EVALUATE
from churn.registry import CHAMPION, MODEL, TRAIN_AGAIN, Registry
from churn.rest import NotFound
from churn.schema import SPLIT, read_schema

METRICS_AT_ONCE = 1000
"""What MLflow takes in one request."""


def main() -> None:
    cli.parser(__doc__).parse_args()
    stage.begin()
    params = settings.read_params()
    schema = read_schema()
    kept, warnings = segments.known(params.evaluate.segments, schema)
    for warning in warnings:
        cli.warn(warning)
    params = params.with_segments(kept)
    rows = table.read_processed(schema, params.data.target)
    train, test = (rows[rows[SPLIT] == name] for name in (split.TRAIN, split.TEST))
    features, target = test[schema.features], test[params.data.target].to_numpy()
    training = read_training()
    journal.close_recorded()
    fitted = skopsfile.read(paths.MODEL_SKOPS)

    probabilities = model.probability(fitted, features)
    found = evaluation.evaluate(params, schema, features, target, probabilities, fitted.threshold)
    naive = metrics.naive_f1(float(target.mean()))
    verdict = gate.decide(found.scores, found.intervals, naive, params.evaluate.gate_f1)
    drawn = plots.tables(params, fitted, features, target, probabilities, found.segments)
    marks = plots.Marks(fitted.threshold, found.scores["cost_threshold"], found.scores["roc_auc"])
    with files.replacing_folder(paths.PLOTS) as folder:
        images = [paths.PLOTS / image.name for image in plots.write(drawn, marks, folder)]

    registry = Registry(server.connect(read_environment()))
    run = find_run(registry, training["run_id"])
    page = card.Card(
        model=MODEL,
        version=registry.version(training["version"]),
        run_url=registry.run_url(training["run_id"]),
        verdict=verdict,
        params=params,
        choice=training["choice"],
        parameters=parameters(run, params.train.hyperparameters(training["choice"]["estimator"])),
        train=dataset.split(train[params.data.target]),
        test=dataset.split(test[params.data.target]),
        features=dataset.features(schema, train, test),
        excluded=dataset.excluded(schema, params.data),
        evaluation=found,
        images={image.stem: image.read_bytes() for image in images},
    )
    files.write_text(paths.MODEL_CARD, card.render(page))

    log_evaluation(registry, run["info"], found.flat, [*images, paths.MODEL_CARD])
    registry.record_verdict(training["version"], verdict, params.evaluate.gate_f1)
    mirror.write(registry)
    files.write_json(paths.METRICS, found.flat)
    cli.step(f"{MODEL} version {training['version']} {verdict.word} its gate: {verdict.reason}")
    cli.step(f"the model card: {paths.shown(paths.MODEL_CARD)}")
    if verdict.passed:
        challenge_champion(registry, training["version"])
        cli.step("next: python src/promote.py")


def challenge_champion(registry: Registry, number: str) -> None:
    """Let the alias champion follow to this version, which passed, if it is the better one. The
    first champion is made by the first promotion."""
    champion = registry.aliases().get(CHAMPION)
    if champion in (None, number):
        return
    version = registry.version(number)
    challenge.announce(version, [champion])
    outcome = challenge.trial(version, [champion])
    registry.record_servable(number, outcome.problem)
    challenge.follow_champion(Ledger(registry), version, outcome, EVALUATE)
    mirror.follow(registry)


def read_training() -> dict[str, Any]:
    """The version and run that train.py made together with the exported model, and its choice."""
    try:
        training: dict[str, Any] = json.loads(paths.TRAINING.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{paths.shown(paths.TRAINING)} is missing; `dvc repro train` makes it"
        ) from None
    if "choice" not in training:
        raise UserError(
            f"{paths.shown(paths.TRAINING)} does not say what was chosen: it is from an earlier"
            f" train.py; `{TRAIN_AGAIN}` makes it anew"
        )
    return training


def find_run(registry: Registry, run_id: str) -> dict[str, Any]:
    """The run that trained the model, as MLflow describes it: its `info` and its `data`."""
    try:
        run: dict[str, Any] = registry.mlflow.get("runs/get", run_id=run_id)["run"]
    except NotFound:
        raise UserError(
            f"the model was trained on another MLflow server: {registry.mlflow.uri} has no run"
            f" {run_id}; `{TRAIN_AGAIN}` trains on this one"
        ) from None
    return run


def parameters(run: dict[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Those of the run's parameters that have these names: what training made of params.yaml, which
    gives gradient boosting only the most iterations it may take."""
    logged = {entry["key"]: entry["value"] for entry in run["data"].get("params", [])}
    return {name: logged[name] for name in names if name in logged}


def log_evaluation(
    registry: Registry, info: dict[str, Any], reported: dict[str, float], reports: list[Path]
) -> None:
    """Add the test metrics, the plots and the model card to the run that trained the model."""
    entries = runs.metric_entries(reported)
    for start in range(0, len(entries), METRICS_AT_ONCE):
        some = entries[start : start + METRICS_AT_ONCE]
        registry.mlflow.post("runs/log-batch", run_id=info["run_id"], metrics=some)
    for report in reports:
        place = report.relative_to(paths.METRICS.parent).as_posix()
        registry.mlflow.put_artifact(f"{info['artifact_uri']}/{place}", report.read_bytes())


if __name__ == "__main__":
    cli.run(main)
