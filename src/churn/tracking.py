"""What a training leaves in MLflow: a run with its parameters, metrics, files and model."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Read when MLflow is imported: no report to its makers, no bars for files of a few kilobytes, and
# no lines about a run of which the script says more in one.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
# MLflow's own 7 retries with growing pauses keep a person waiting for four minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec
from mlflow.types import Schema as MlflowSchema

import mlflow
from churn import cli, files, lineage, model, paths, runs
from churn.choice import Candidate, Choice
from churn.compiler import Compiled
from churn.errors import UserError
from churn.journal import Entry
from churn.registry import EXPERIMENT, MODEL, TRAINING_ID, Registry, Tag
from churn.runs import Run
from churn.schema import ModelSchema, Schema
from churn.scorer import SCHEMA_FILE, SCORER_FILE
from churn.settings import Params, Train
from mlflow import MlflowClient


@dataclass(frozen=True)
class Logged:
    """A training all of which is in MLflow, but for its version."""

    run_id: str
    model_id: str


def tags(train: Train, chosen: Candidate, compiled: Compiled, exported: Path) -> dict[str, str]:
    """What ties a version to what made it."""
    return {
        Tag.GIT_COMMIT: lineage.git_commit(),
        Tag.GIT_CLEAN: lineage.git_clean(),
        Tag.RAW_SHA256: files.sha256(paths.RAW),
        Tag.RAW_MD5: lineage.md5(paths.RAW),
        Tag.MODEL_SHA256: files.sha256(exported),
        Tag.TRAINING: train.version,
        Tag.ESTIMATOR: chosen.estimator,
        **compiled.tags,
    }


def log_training(
    registry: Registry,
    params: Params,
    choice: Choice,
    fitted: Any,
    described: ModelSchema,
    compiled: Compiled,
    exported: Path,
    entry: Entry,
) -> Logged:
    """One MLflow run with its model and its lineage, which finishes when all of it is there. Where
    several candidates were compared, each is a run below it.

    Raises UserError where MLflow declines or stops answering; the run is then marked as failed.
    """
    train, chosen = params.train, choice.chosen
    with _run(registry, train.version, entry.id) as run, TemporaryDirectory() as folder:
        mlflow.log_params(
            {
                "version": train.version,
                "seed": train.seed,
                "model": train.model,
                "choose_by": choice.by,
                "estimator": chosen.estimator,
                "calibration": chosen.calibration,
                **chosen.hyperparameters,
                "gate_f1": params.evaluate.gate_f1,
                "test_size": params.split.test_size,
                "split_salt": params.split.salt,
                "threshold": described.threshold,
            }
        )
        mlflow.log_metrics(chosen.metrics)
        if len(choice.compared) > 1:
            parent = Run(run.info.run_id, run.info.experiment_id)
            for each in choice.compared:
                runs.record_child(registry, parent, each.estimator, each.params, each.metrics)
        named = Path(folder) / f"{MODEL}_{train.version}.joblib"
        shutil.copyfile(exported, named)
        mlflow.log_artifact(str(named), "exported_models")
        _log_uncommitted(Path(folder))
        logged = _log_model(fitted, described, compiled, Path(folder))
        mlflow.set_tags(entry.tags | {Tag.CHOICE_REASON: choice.reason})
    return Logged(run.info.run_id, logged.model_id)


def settle(registry: Registry, training: str) -> Logged | None:
    """The run of the training with this id, if all of it is in MLflow. If not, what is there is
    marked: its runs as killed, and its model as failed."""
    experiment = registry.experiment_id(EXPERIMENT)
    if experiment is None:
        return None
    runs_of = f"tags.{TRAINING_ID} = '{training}'"
    with _one_line(registry):
        client = MlflowClient(registry.mlflow.uri)
        for run in client.search_runs([experiment], runs_of):
            run_id = run.info.run_id
            models = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
            if run.info.status == "FINISHED" and models and Tag.MODEL_SHA256 in run.data.tags:
                return Logged(run_id, models[0].model_id)
            for logged in models:
                if logged.status == LoggedModelStatus.PENDING:
                    client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
            below = f"tags.`{runs.PARENT}` = '{run_id}' and attributes.status = 'RUNNING'"
            for unfinished in client.search_runs([experiment], below):
                client.set_terminated(unfinished.info.run_id, "KILLED")
            if run.info.status != "FAILED":
                client.set_terminated(run_id, "KILLED")
    return None


@contextmanager
def _run(registry: Registry, name: str, training: str) -> Iterator[mlflow.ActiveRun]:
    """A new run of the experiment, killed by Ctrl-C and SIGTERM."""
    mlflow.set_tracking_uri(registry.mlflow.uri)
    with _one_line(registry):
        mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run(run_name=name, tags={TRAINING_ID: training}) as run:
            try:
                yield run
            except (KeyboardInterrupt, cli.Terminated):
                mlflow.end_run("KILLED")
                raise


@contextmanager
def _one_line(registry: Registry) -> Iterator[None]:
    """MLflow's exceptions become errors of one line."""
    try:
        yield
    except MlflowException as error:
        raise UserError(f"MLflow at {registry.mlflow.uri}: {error.message}") from None


def _log_uncommitted(folder: Path) -> None:
    """Log what differs from the commit, so that an experiment can be reproduced as well."""
    uncommitted = lineage.uncommitted()
    if uncommitted.patch:
        patch = folder / lineage.PATCH
        patch.write_bytes(uncommitted.patch)
        mlflow.log_artifact(str(patch))
    if uncommitted.left_out:
        mlflow.set_tag(lineage.LEFT_OUT, uncommitted.left_out)
        if uncommitted.left_out != lineage.NOTHING_READ:
            cli.warn(f"uncommitted changes are not recorded: {uncommitted.left_out}; commit them")


def _log_model(fitted: Any, described: ModelSchema, compiled: Compiled, folder: Path) -> Any:
    """Log the model in the skops format, with signature and input example; beside it the compiled
    one and its schema, which are all that the API reads.

    Requirements are given, because inferring them takes MLflow several seconds.
    """
    contents = {SCORER_FILE: compiled.scorer_file, SCHEMA_FILE: compiled.schema_file}
    beside = [folder / Path(name).name for name in contents]
    for path, content in zip(beside, contents.values(), strict=True):
        path.write_bytes(content)
    packages = ("scikit-learn", "pandas", "numpy", "skops")
    return mlflow.sklearn.log_model(
        fitted,
        name="model",
        signature=_signature(described),
        input_example=model.frame([described.example.row], described),
        serialization_format="skops",
        skops_trusted_types=list(model.TRUSTED_TYPES),
        pip_requirements=[f"{name}=={installed_version(name)}" for name in packages],
        extra_files=[str(path) for path in beside],
    )


def _signature(schema: Schema) -> ModelSignature:
    """Numbers as double, whole ones too: MLflow's integers have no missing value."""
    inputs = [
        ColSpec("double" if column.is_numeric else "string", name, required=not column.nullable)
        for name, column in schema.used.items()
    ]
    return ModelSignature(MlflowSchema(inputs), MlflowSchema([ColSpec("long")]))
