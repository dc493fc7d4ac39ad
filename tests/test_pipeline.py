"""The pipeline by `dvc repro`, against a real MLflow server."""

import json
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from conftest import registry_of
from project import Project, checkout

import mlflow
from churn import files, skopsfile
from churn.registry import EXPERIMENT, MODEL, Registry, Tag, Version

METRICS = {"f1", "accuracy", "precision", "recall", "roc_auc", "log_loss", "brier"}


def registry(project: Project) -> Registry:
    project.do("python", "src/start_mlflow.py")
    return registry_of(project)


def versions(project: Project) -> list[Version]:
    return registry(project).versions()


def test_each_training_is_a_run_and_a_version_with_its_verdict(trained: Project) -> None:
    third, second, first = versions(trained)
    assert [third.gate, second.gate, first.gate] == ["failed", "passed", "passed"]
    assert "gate_f1 0.99" in third.tags[Tag.GATE_REASON]
    assert len({third.run_id, second.run_id, first.run_id}) == 3


def test_a_version_names_its_commit_and_hashes(trained: Project) -> None:
    commit = trained.do("git", "rev-parse", "HEAD").strip()
    newest, _, first = versions(trained)
    assert first.tags[Tag.GIT_COMMIT] == commit
    # Version 1 came from the checkout as it was, version 3 from changed parameters.
    assert [first.tags[Tag.GIT_CLEAN], newest.tags[Tag.GIT_CLEAN]] == ["true", "false"]
    assert newest.tags[Tag.RAW_SHA256] == files.sha256(trained.root / "data/raw.csv")
    assert newest.tags[Tag.MODEL_SHA256] == files.sha256(trained.root / "models/model.joblib")


def test_the_run_holds_parameters_metrics_and_artifacts(trained: Project) -> None:
    talk = registry(trained)
    newest = talk.versions()[0]
    run = talk.mlflow.get("runs/get", run_id=newest.run_id)["run"]
    params = {entry["key"]: entry["value"] for entry in run["data"]["params"]}
    measured = {entry["key"] for entry in run["data"]["metrics"]}
    assert params["version"] == "v1"
    assert (params["seed"], params["gate_f1"], params["C"]) == ("42", "0.99", "0.02")
    assert params["model"] == "logistic_regression"
    assert measured >= METRICS | {"f1_low", "f1_high", "roc_auc_low", "roc_auc_high", "cv_f1"}
    exported = talk.mlflow.get("artifacts/list", run_id=newest.run_id, path="exported_models")
    assert [file["path"] for file in exported["files"]] == [f"exported_models/{MODEL}_v1.joblib"]
    drawn = talk.mlflow.get("artifacts/list", run_id=newest.run_id, path="plots")
    assert {Path(file["path"]).stem for file in drawn["files"]} == {
        *("roc", "precision_recall", "calibration", "confusion", "threshold", "importance"),
        *("gain", "lift", "cost", "segments"),
    }


def test_the_reports_are_one_flat_object_and_a_table_for_each_plot(project: Project) -> None:
    reported = json.loads((project.root / "reports/metrics.json").read_text())
    assert reported.keys() >= METRICS
    assert all(isinstance(value, float) for value in reported.values())
    assert reported["f1_low"] < reported["f1"] < reported["f1_high"]
    shown = project.do("dvc", "metrics", "show", "--json")
    assert json.loads(shown)[""]["data"]["reports/metrics.json"]["data"] == reported
    project.do("dvc", "plots", "show", "-o", "drawn")
    drawn = (project.root / "drawn" / "index.html").read_text()
    for title in ("ROC curve", "Calibration", "Confusion", "Permutation importance"):
        assert title in drawn


def test_the_mirror_lists_every_version_newest_first(template: Project) -> None:
    mirrored = json.loads((template.root / "registry/metadata.json").read_text())
    assert [entry["version"] for entry in mirrored] == ["3", "2", "1"]
    assert mirrored[0]["gate"] == "failed"
    assert mirrored[0]["metrics"].keys() >= METRICS
    assert mirrored[0]["data_hash"] == files.sha256(template.root / "data/raw.csv")
    assert not (template.root / "registry/current_model.txt").exists()


def test_the_registered_model_is_the_exported_one_and_carries_its_schema(trained: Project) -> None:
    talk = registry(trained)
    number = talk.versions()[0].number
    mlflow.set_tracking_uri(trained.mlflow_uri)
    loaded = skopsfile.of_version(talk, number)
    exported = joblib.load(trained.root / "models/model.joblib")
    info = mlflow.models.get_model_info(f"models:/{MODEL}/{number}")
    schema = json.loads(
        talk.mlflow.get_artifact(f"{talk.artifact_uri(number)}/extra_files/schema.json")
    )
    row = mlflow.artifacts.load_dict(f"{talk.artifact_uri(number)}/input_example.json")
    assert [column.name for column in info.signature.inputs.inputs] == list(schema["columns"])
    assert row["columns"] == list(schema["columns"])
    rows = _test_rows(trained)
    assert np.array_equal(loaded.predict_proba(rows), exported.predict_proba(rows))
    assert loaded.threshold == exported.threshold == schema["threshold"]


def _test_rows(project: Project) -> pd.DataFrame:
    table = pd.read_csv(project.root / "data/processed.csv", keep_default_na=False)
    return table[table["_split"] == "test"].drop(columns=["churn", "_split"])


def test_a_second_repro_changes_nothing_and_makes_no_run(project: Project) -> None:
    before = {path: files.sha256(path) for path in _outputs(project)}
    printed = project.do("dvc", "repro")
    assert "up to date" in printed
    assert {path: files.sha256(path) for path in _outputs(project)} == before
    assert len(versions(project)) == 3


def _outputs(project: Project) -> list[Path]:
    folders = ("data", "models", "reports", "registry")
    found = [path for name in folders for path in (project.root / name).rglob("*")]
    return [path for path in [*found, project.root / "dvc.lock"] if path.is_file()]


def test_going_back_to_earlier_parameters_makes_a_real_run(project: Project) -> None:
    project.edit("params.yaml", "C: 0.02", "C: 0.01")
    project.edit("params.yaml", "gate_f1: 0.99", "gate_f1: 0.55")
    project.do("dvc", "repro")
    newest, *older = versions(project)
    assert newest.number == "4"
    assert newest.gate == "passed"
    # Same data, same code, same parameters: the same model to the last bit as version 2.
    assert newest.tags[Tag.MODEL_SHA256] == older[1].tags[Tag.MODEL_SHA256]


def test_another_gate_judges_the_same_version_again(project: Project) -> None:
    project.edit("params.yaml", "gate_f1: 0.99", "gate_f1: 0.5")
    project.do("dvc", "repro")
    assert [version.gate for version in versions(project)] == ["passed", "passed", "passed"]
    project.edit("params.yaml", "gate_f1: 0.5", "gate_f1: 0.99")
    project.do("dvc", "repro")
    assert [version.gate for version in versions(project)] == ["failed", "passed", "passed"]


def test_a_snapshot_is_taken_again_only_when_asked_or_when_the_source_changes(
    project: Project,
) -> None:
    raw = project.root / "data/raw.csv"
    sample = raw.read_text()
    source = project.root / "customers.csv"
    source.write_text(sample)
    project.edit("params.yaml", "source: sample", "source: customers.csv")
    project.do("dvc", "repro", "ingest")
    source.write_text(sample + "1,0,5.5,Basic,EU,1\n")
    project.do("dvc", "repro", "ingest")
    assert raw.read_text() == sample
    project.do("dvc", "repro", "-f", "ingest")
    assert raw.read_text() == sample + "1,0,5.5,Basic,EU,1\n"
    project.edit("params.yaml", "source: customers.csv", "source: sample")
    project.do("dvc", "repro", "ingest")
    assert raw.read_text() == sample
    project.edit("params.yaml", "source: sample", "source: customers.csv")
    project.do("dvc", "repro", "ingest")
    assert raw.read_text() == sample + "1,0,5.5,Basic,EU,1\n"


def test_a_failing_ingest_leaves_the_snapshot_as_it_was(project: Project) -> None:
    raw = project.root / "data/raw.csv"
    before = raw.read_bytes()
    project.edit("params.yaml", "source: sample", "source: gone.csv")
    assert "gone.csv" in project.refused("dvc", "repro", code=255)
    assert raw.read_bytes() == before


@pytest.mark.parametrize("model", ["hist_gradient_boosting", "random_forest"])
def test_the_other_estimators_go_through_too(project: Project, model: str) -> None:
    project.edit("params.yaml", "gate_f1: 0.99", "gate_f1: 0.55")
    project.edit("params.yaml", "n_estimators: 200", "n_estimators: 20")
    project.edit("params.yaml", "model: logistic_regression", f"model: {model}")
    assert "passed its gate" in project.do("dvc", "repro")
    assert versions(project)[0].tags[Tag.ESTIMATOR] == model


def test_training_without_a_server_keeps_the_model_that_was_there(project: Project) -> None:
    before = (project.root / "models/model.joblib").read_bytes()
    line = project.refused(
        "python", "src/train.py", code=3, MLFLOW_TRACKING_URI="http://mlflow.invalid:5000"
    )
    assert "mlflow.invalid" in line
    assert (project.root / "models/model.joblib").read_bytes() == before
    assert not list((project.root / "models").glob(".model*"))


def test_the_experiment_has_the_name_of_the_lab(trained: Project) -> None:
    assert EXPERIMENT == "mlops-lab-01"
    assert registry(trained).experiment_id(EXPERIMENT) is not None


def test_a_copy_without_git_trains_and_says_that_the_commit_is_unknown(tmp_path: Path) -> None:
    project = checkout(tmp_path)
    (project.root / ".git").rename(tmp_path / "elsewhere")
    for stage in ("ingest_data", "prepare_data", "train"):
        project.do("python", f"src/{stage}.py", GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert versions(project)[0].tags[Tag.GIT_COMMIT] == "unknown"
    project.do("python", "src/stop_mlflow.py")


def test_mlflow_that_declines_a_training_is_one_line_and_the_old_model_stays(
    project: Project,
) -> None:
    talk = registry(project)
    experiment = talk.experiment_id(EXPERIMENT)
    talk.mlflow.post("experiments/delete", experiment_id=experiment)
    before = (project.root / "models/model.joblib").read_bytes()
    assert EXPERIMENT in project.refused("python", "src/train.py")
    assert (project.root / "models/model.joblib").read_bytes() == before
