"""doctor.py: each thing that goes wrong, provoked for real."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Serve, copied, moved, registry_of, wait_until
from project import Project, free_port, local_environment

from churn import checkup
from churn.ledger import Ledger, Move
from churn.moves import stand
from churn.registry import EXPERIMENT, PRODUCTION
from churn.rest import MlflowRefused

pytestmark = pytest.mark.xdist_group("doctor")

DOCTOR = ("python", "src/doctor.py")


@pytest.fixture(scope="module")
def patient(template: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose version 1 is in production, with a server that runs."""
    project = copied(template, tmp_path_factory.mktemp("doctor"))
    project.do("python", "src/start_mlflow.py")
    moved(project, "promote 2", "promote 1")
    project.do("python", "src/status.py", "--sync")
    yield project
    project.do("python", "src/stop_mlflow.py")


def bad(project: Project, **variables: str) -> list[str]:
    """The findings that doctor calls BAD, as a person reads them."""
    done = project.run(*DOCTOR, **variables)
    assert "Traceback" not in done.stderr, done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("BAD")]
    assert done.returncode == bool(found), done.stdout
    return found


def test_nothing_is_wrong_with_a_project_that_works(patient: Project) -> None:
    said = patient.do(*DOCTOR)
    assert "nothing is wrong" in said
    assert "version 1 loads and answers its example" in said
    assert "DVC's cache has the data of version 1" in said
    found = json.loads(patient.do(*DOCTOR, "--json"))
    assert {"BAD"} & {finding["state"] for finding in found} == set()
    assert {"packages", "disk", "database", "server", "artifacts", "ledger"} < {
        finding["check"] for finding in found
    }


def test_a_server_that_is_not_there(patient: Project) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    (line,) = bad(patient, MLFLOW_TRACKING_URI=uri)
    assert f"no MLflow server at {uri}" in line
    assert "python src/start_mlflow.py" in line


def test_a_server_that_refuses_the_host_behind_a_green_health_endpoint(
    patient: Project, tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/db", "--allowed-hosts", "elsewhere"]
    environment = local_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: "is green" in "".join(bad(patient, MLFLOW_TRACKING_URI=uri)), 120)
        (line,) = bad(patient, MLFLOW_TRACKING_URI=uri)
    finally:
        server.terminate()
        server.wait(30)
    assert f"{uri}/health is green, but every real route is refused" in line
    assert f"--allowed-hosts 127.0.0.1:{port}" in line


def test_files_that_do_not_go_through_the_server(patient: Project) -> None:
    server = registry_of(patient)
    found = server.experiment(EXPERIMENT)
    assert found

    def rename(number: str, name: str) -> None:
        server.mlflow.post("experiments/update", experiment_id=number, new_name=name)

    rename(found["experiment_id"], "aside")
    try:
        made = server.mlflow.post(
            "experiments/create", name=EXPERIMENT, artifact_location="/var/lib/somewhere"
        )
        (line,) = bad(patient)
        rename(made["experiment_id"], "local")
    finally:
        rename(found["experiment_id"], EXPERIMENT)
    assert f"experiment {EXPERIMENT} keeps its files at" in line
    assert "/var/lib/somewhere" in line
    assert "--artifacts-destination" in line


@pytest.mark.parametrize(
    ("revision", "said"),
    [("451aebb31d03", "older schema (451aebb31d03)"), ("ffffffffffff", "a newer one made it")],
)
def test_a_database_of_another_mlflow(patient: Project, revision: str, said: str) -> None:
    database = patient.root / "mlflow" / "mlflow.db"
    with sqlite3.connect(database) as connection:
        (now,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    try:
        (line,) = bad(patient)
    finally:
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (now,))
    assert said in line


def test_an_alias_that_was_moved_outside_the_ledger(patient: Project) -> None:
    registry_of(patient).point("staging", "2")
    lines = bad(patient)
    registry_of(patient).point("staging", "")
    assert "staging is at version 2 and the ledger has it at none" in lines[0]
    assert "status.py --sync" in lines[1]


def test_a_move_that_was_interrupted_is_shown_and_not_finished(patient: Project) -> None:
    ledger = Ledger(registry_of(patient))
    standing = stand(ledger, "champion")
    assert standing.last
    ledger.append(standing.last, Move("champion", "", "2", "promote", "killed"))
    for _ in range(2):
        (line,) = bad(patient)
        assert "a move of champion was interrupted: none → 2, promote by" in line
    patient.do("python", "src/status.py", "--sync")
    assert bad(patient) == []


def test_a_version_in_production_that_does_not_load(patient: Project) -> None:
    server = registry_of(patient)
    model = f"{server.artifact_uri('1')}/model.skops"
    content = server.mlflow.get_artifact(model)
    server.mlflow.put_artifact(model, content[:1000])
    (line,) = bad(patient)
    server.mlflow.put_artifact(model, content)
    assert "version 1 does not load: its model cannot be loaded" in line
    assert "python src/rollback.py" in line


def test_an_api_that_serves_something_else(patient: Project, serve: Serve) -> None:
    api = serve(patient, RELOAD_SECONDS="3600")
    api.wait_for_version("1")
    url = str(api.client.base_url).rstrip("/")
    assert bad(patient, API_URLS=url) == []
    moved(patient, "promote 2")
    patient.do("python", "src/status.py", "--sync")
    (line,) = bad(patient, API_URLS=url)
    moved(patient, "rollback 1")
    patient.do("python", "src/status.py", "--sync")
    assert f"{url} serves version 1 and production is 2" in line


def test_data_that_dvc_has_lost(patient: Project, tmp_path: Path) -> None:
    cache = patient.root / ".dvc" / "cache"
    aside = cache.rename(cache.with_name("aside"))
    raw = patient.root / "data" / "raw.csv"
    kept = raw.read_bytes()
    try:
        (line,) = bad(patient)
        assert "and data/raw.csv is it → `dvc commit`" in line
        raw.unlink()
        (line,) = bad(patient)
        assert "DVC's cache lacks the data of version 1" in line
        assert "there is no remote" in line
        patient.do("dvc", "remote", "add", "--default", "store", str(tmp_path))
        (line,) = bad(patient)
        assert "dvc fetch" in line
        patient.do("dvc", "remote", "remove", "store")
    finally:
        if cache.exists():
            shutil.rmtree(cache)
        aside.rename(cache)
        raw.write_bytes(kept)


def test_packages_other_than_the_pinned_ones(patient: Project) -> None:
    requirements = patient.root / "requirements.txt"
    text = requirements.read_text()
    requirements.write_text(re.sub(r"joblib==\S+", "joblib==0.1", text) + "\nno-such-package==1\n")
    (line,) = bad(patient)
    requirements.write_text(text)
    assert re.search(r"joblib [\d.]+ where 0\.1 is pinned, no-such-package missing where 1", line)
    assert "make setup" in line


def test_a_disk_that_is_nearly_full() -> None:
    plenty, full = list(checkup.disk(least=0, share=0)), list(checkup.disk(least=10**18))
    assert {state for state, _, _ in plenty} == {"ok"}
    assert {state for state, _, _ in full} == {"BAD"}
    assert re.search(r"[\d.]+ of [\d.]+ GB are free for the project", full[0][1])


def test_a_mirror_that_is_behind(patient: Project) -> None:
    (patient.root / "registry/current_model.txt").write_text("churn_model/7\n")
    (line,) = bad(patient)
    assert "registry/ says production is churn_model/7 where MLflow has churn_model/1" in line
    patient.do("python", "src/status.py", "--sync")
    assert bad(patient) == []


def test_it_changes_nothing(patient: Project) -> None:
    server = registry_of(patient)
    before = [(version, version.tags) for version in server.versions()]
    patient.do(*DOCTOR)
    assert [(version, version.tags) for version in server.versions()] == before
    assert server.aliases()[PRODUCTION] == "1"
    with pytest.raises(MlflowRefused):
        server.mlflow.get("runs/get", run_id="0" * 32)
