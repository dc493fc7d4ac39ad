"""Real data: the IBM Telco table through the same code, by params.yaml and schema.yaml alone."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Serve, registry_of
from project import ROOT, checkout

TELCO = ROOT.parent / "shared" / "data" / "telco.csv"

pytestmark = pytest.mark.skipif(not TELCO.is_file(), reason=f"the Telco table is not at {TELCO}")


def test_telco_from_the_raw_table_to_a_rollback(tmp_path: Path, serve: Serve) -> None:
    project = checkout(tmp_path)
    project.edit("params.yaml", "source: sample", f"source: {TELCO}")
    project.edit("params.yaml", "target: churn ", "target: Churn ")
    project.edit("params.yaml", "positive: 1 ", "positive: Yes ")
    project.edit("params.yaml", "id:  ", "id: customerID  ")
    shutil.copy(Path(__file__).parent / "telco" / "schema.yaml", project.root / "data")

    project.do("dvc", "repro")
    scores = json.loads((project.root / "reports/metrics.json").read_text())
    assert scores["roc_auc"] >= 0.83
    processed = (project.root / "data/processed.csv").read_text()
    assert len(processed.splitlines()) == 7_043 + 1
    assert processed.count(",,") == 11  # the blank TotalCharges, still missing

    assert "none → 1" in project.do("python", "src/promote.py")
    api = serve(project)
    api.wait_for_version("1")
    customer = api.client.get("/model").json()["served"]["example"]
    first = api.predict(**customer)
    assert first.status_code == 200
    assert first.json()["warnings"] == []
    new = api.predict(**customer | {"tenure": 1})
    assert new.json()["probability"] > first.json()["probability"]
    # The eleven customers without a first bill all stayed, and the model knows a missing one.
    unbilled = api.predict(**customer | {"tenure": 0, "TotalCharges": None})
    assert unbilled.status_code == 200
    assert unbilled.json()["probability"] < first.json()["probability"]

    project.edit("params.yaml", "model: logistic_regression", "model: hist_gradient_boosting")
    project.do("dvc", "repro")
    assert "1 → 2" in project.do("python", "src/promote.py")
    api.wait_for_version("2")
    assert "2 → 1" in project.do("python", "src/rollback.py")
    api.wait_for_version("1")
    assert api.predict(**customer).json()["probability"] == first.json()["probability"]
    assert len(registry_of(project).versions()) == 2
    project.do("python", "src/stop_mlflow.py")
