"""Runs over REST: a search, its trials, the candidates of a choice, the entries of the ledger. (A
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
    run = Run(create(mlflow, experiment, name, {}), experiment)
    try:
        yield run
    except BaseException as error:
        end(mlflow, run.id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    end(mlflow, run.id, "FINISHED")


def record_child(
    registry: Registry,
    parent: Run,
    name: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
) -> None:
    """A finished run below the run `parent`."""
    mlflow = registry.mlflow
    run_id = create(mlflow, parent.experiment, name, {PARENT: parent.id})
    mlflow.post(
        "runs/log-batch",
        run_id=run_id,
        params=[{"key": key, "value": str(value)} for key, value in params.items()],
        metrics=metric_entries(metrics),
    )
    end(mlflow, run_id, "FINISHED")


def metric_entries(metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    """The metrics as MLflow's `runs/log-batch` takes them."""
    now = _now()
    return [
        {"key": key, "value": value, "timestamp": now, "step": 0} for key, value in metrics.items()
    ]


def create(mlflow: Mlflow, experiment: str, name: str, tags: Mapping[str, str]) -> str:
    """Start a run of the experiment with this id; the run's id."""
    created = mlflow.post(
        "runs/create",
        experiment_id=experiment,
        run_name=name,
        start_time=_now(),
        tags=[{"key": key, "value": value} for key, value in tags.items()],
    )
    return str(created["run"]["info"]["run_id"])


def end(mlflow: Mlflow, run_id: str, status: str) -> None:
    """End the run: FINISHED, FAILED or KILLED."""
    mlflow.post("runs/update", run_id=run_id, status=status, end_time=_now())


def _now() -> int:
    return time.time_ns() // 1_000_000
