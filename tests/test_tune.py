"""The choice among estimators as a user runs it: train.model auto, and the search of tune.py."""

import json
from typing import Any

import yaml
from conftest import registry_of
from project import Project

from churn.registry import EXPERIMENT, Registry
from churn.runs import PARENT
from churn.settings import ESTIMATORS


def children(registry: Registry, parent: str) -> list[dict[str, Any]]:
    """The runs below another one."""
    experiment = registry.experiment_id(EXPERIMENT)
    runs = registry.mlflow.pages("runs/search", "runs", experiment_ids=[experiment])
    tag = {"key": PARENT, "value": parent}
    return [run for run in runs if tag in run["data"].get("tags", [])]


def test_auto_compares_the_estimators_and_trains_the_best(project: Project) -> None:
    project.edit("params.yaml", "model: logistic_regression", "model: auto")
    said = project.do("dvc", "repro")
    training = json.loads((project.root / "models/training.json").read_text())
    compared = training["choice"]["compared"]
    assert {each["estimator"] for each in compared} == set(ESTIMATORS)
    assert compared[0]["estimator"] == training["choice"]["estimator"]
    assert training["choice"]["reason"] in said

    registry = registry_of(project)
    newest = registry.versions()[0]
    assert newest.run_id == training["run_id"]
    assert newest.tags["estimator"] == training["choice"]["estimator"]
    below = children(registry, newest.run_id)
    assert {run["info"]["run_name"] for run in below} == set(ESTIMATORS)
    for run in below:
        assert {"cv_log_loss", "cv_roc_auc"} <= {each["key"] for each in run["data"]["metrics"]}


def test_a_search_is_logged_and_better_values_are_written(project: Project) -> None:
    # A penalty so strong that hardly anything is learnt is easy to beat.
    before = (project.root / "params.yaml").read_text()
    assert "C: 0.02" in before
    project.edit("params.yaml", "C: 0.02", "C: 0.00001")
    said = project.do("python", "src/tune.py", "--trials", "4")
    after = (project.root / "params.yaml").read_text()
    params = yaml.load(after, yaml.BaseLoader)  # noqa: S506
    found = float(params["train"]["logistic_regression"]["C"])
    assert found > 0.00001
    assert f"C 1e-05 → {found:g}" in said
    assert "next: dvc repro" in said
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) == 1  # the comments and all other values stay

    registry = registry_of(project)
    experiment = registry.experiment_id(EXPERIMENT)
    runs = registry.mlflow.pages("runs/search", "runs", experiment_ids=[experiment])
    (search,) = (run for run in runs if run["info"]["run_name"] == "tune")
    trials = children(registry, search["info"]["run_id"])
    assert len(trials) == 4
    for trial in trials:
        assert trial["info"]["status"] == "FINISHED"
        assert "cv_log_loss" in {metric["key"] for metric in trial["data"]["metrics"]}


def test_what_cannot_be_searched_is_one_line(project: Project) -> None:
    before = (project.root / "params.yaml").read_text()
    said = project.refused("python", "src/tune.py", "--trials", "0", code=2)
    assert "'0' is not a whole number from 1 to 10000" in said
    project.edit("params.yaml", "    C: {low: 0.001", "    c: {low: 0.001")
    assert "tune.logistic_regression.c is not a known key" in project.refused(
        "python", "src/tune.py"
    )
    assert (project.root / "params.yaml").read_text() == before.replace(
        "    C: {low: 0.001", "    c: {low: 0.001"
    )
