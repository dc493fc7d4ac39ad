"""Runs of the experiment over REST: a search, its trials, and the candidates of a choice. (A
training is logged by MLflow's own client, in tracking.py, because it has a model.)"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from churn.registry import EXPERIMENT, Registry
from churn.rest import Mlflow

PARENT = "mlflow.parentRunId"
"""MLflow's tag by which a run is shown below another one."""


@dataclass(frozen=True)
class Run:
    """A run by its id and its experiment's."""

    id: str
    experiment: str


@contextmanager
def running(registry: Registry, name: str) -> Iterator[Run]:
    """A new run, which ends with the block: finished, failed, or killed by Ctrl-C."""
    mlflow = registry.mlflow
    experiment = registry.experiment_id(EXPERIMENT)
    if experiment is None:
        experiment = mlflow.post("experiments/create", name=EXPERIMENT)["experiment_id"]
    run = _create(mlflow, experiment, name, {})
    try:
        yield run
    except BaseException as error:
        _end(mlflow, run, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    _end(mlflow, run, "FINISHED")


def record_child(
    registry: Registry,
    parent: Run,
    name: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> None:
    """A finished run below the run `parent`."""
    mlflow = registry.mlflow
    run = _create(mlflow, parent.experiment, name, {PARENT: parent.id})
    mlflow.post(
        "runs/log-batch",
        run_id=run.id,
        params=[{"key": key, "value": str(value)} for key, value in params.items()],
        metrics=metric_entries(metrics),
    )
    _end(mlflow, run, "FINISHED")


def metric_entries(metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    """The metrics as MLflow's `runs/log-batch` takes them."""
    now = _now()
    return [
        {"key": key, "value": value, "timestamp": now, "step": 0} for key, value in metrics.items()
    ]


def _create(mlflow: Mlflow, experiment: str, name: str, tags: Mapping[str, str]) -> Run:
    created = mlflow.post(
        "runs/create",
        experiment_id=experiment,
        run_name=name,
        start_time=_now(),
        tags=[{"key": key, "value": value} for key, value in tags.items()],
    )
    return Run(str(created["run"]["info"]["run_id"]), experiment)


def _end(mlflow: Mlflow, run: Run, status: str) -> None:
    mlflow.post("runs/update", run_id=run.id, status=status, end_time=_now())


def _now() -> int:
    return time.time_ns() // 1_000_000
