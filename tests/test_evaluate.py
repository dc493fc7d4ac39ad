"""What `python src/evaluate.py` leaves behind, against a real MLflow server."""

import json
import subprocess

import pytest
from conftest import registry_of
from project import Project

from churn.registry import Tag


def test_all_that_is_reported_is_in_the_run_too(trained: Project) -> None:
    reported = json.loads((trained.root / "reports/metrics.json").read_text())
    registry = registry_of(trained)
    run_id = registry.versions()[0].run_id
    run = registry.mlflow.get("runs/get", run_id=run_id)["run"]
    logged = {entry["key"]: entry["value"] for entry in run["data"]["metrics"]}
    assert {name: logged[name] for name in reported} == pytest.approx(reported)
    assert reported["cost_threshold"] == pytest.approx(1 / 6)
    assert reported["lift_decile_1"] > 2
    assert reported["calibration_error_low"] < reported["calibration_error"]
    regions = [name for name in reported if name.startswith("segment/region/")]
    assert {name.split("/")[2] for name in regions} == {"EU", "NA", "APAC", "LATAM"}
    rows = [reported[name] for name in regions if name.endswith("/rows")]
    assert sum(rows) == sum(
        reported[name] for name in reported if "/plan_type/" in name and name.endswith("/rows")
    )


def test_the_model_card_is_a_report_and_an_artifact_of_the_run(trained: Project) -> None:
    card = (trained.root / "reports/model_card.html").read_bytes()
    registry = registry_of(trained)
    newest = registry.versions()[0]
    run = registry.mlflow.get("runs/get", run_id=newest.run_id)["run"]
    uri = run["info"]["artifact_uri"]
    assert registry.mlflow.get_artifact(f"{uri}/model_card.html") == card
    page = card.decode()
    assert "Failed its gate." in page
    assert newest.tags[Tag.GATE_REASON].replace("<", "&lt;") in page
    for known in (newest.run_id, newest.tags[Tag.GIT_COMMIT], newest.tags[Tag.RAW_SHA256]):
        assert known in page
    assert "C 0.02, max_iter 1000" in page
    assert str(trained.root) not in page


def test_dvc_tracks_the_card_and_git_does_not(trained: Project) -> None:
    assert "reports/model_card.html" in (trained.root / "dvc.lock").read_text()
    ignored = subprocess.run(
        ["git", "check-ignore", "reports/model_card.html"], cwd=trained.root, check=False
    )
    assert ignored.returncode == 0


def test_the_plots_of_what_a_team_acts_on_are_drawn_by_dvc(project: Project) -> None:
    project.do("dvc", "plots", "show", "-o", "drawn")
    drawn = (project.root / "drawn" / "index.html").read_text()
    titles = ("Cumulative gain", "Lift by decile", "Threshold and cost", "ROC-AUC by segment")
    for title in titles:
        assert title in drawn


def test_a_segment_that_is_no_feature_is_a_warning_and_left_out(project: Project) -> None:
    project.edit("params.yaml", "segments: [plan_type, region]", "segments: [plan_type, regoin]")
    done = project.run("python", "src/evaluate.py")
    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert "evaluate.segments names 'regoin', which is not a feature and is left out" in warning
    reported = json.loads((project.root / "reports/metrics.json").read_text())
    assert "segment/plan_type/Basic/f1" in reported
    assert not [name for name in reported if "region" in name or "regoin" in name]


def test_a_training_that_does_not_say_what_it_chose_is_one_line(project: Project) -> None:
    training = project.root / "models/training.json"
    kept = json.loads(training.read_text())
    training.write_text(json.dumps({"version": kept["version"], "run_id": kept["run_id"]}))
    assert "dvc repro -f -s train evaluate" in project.refused("python", "src/evaluate.py")


def test_without_segments_the_pipeline_has_its_reports(project: Project) -> None:
    project.edit("params.yaml", "segments: [plan_type, region]", "segments: []")
    project.do("dvc", "repro", "-s", "evaluate")
    reported = json.loads((project.root / "reports/metrics.json").read_text())
    assert not [name for name in reported if name.startswith("segment/")]
    assert "names no column" in (project.root / "reports/model_card.html").read_text()
    project.do("dvc", "plots", "show", "-o", "drawn")
