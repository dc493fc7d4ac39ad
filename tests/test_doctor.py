"""doctor.py: each thing that goes wrong, provoked for real, and mended as it says.

A look at everything takes six seconds, so what can go wrong side by side does so at once.
"""

import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Api, copied, moved, registry_of, running, wait_until
from project import Project, free_port, local_environment, servers

from churn import installation
from churn.finding import BAD, NOTE, OK
from churn.ledger import Ledger, Move
from churn.moves import stand
from churn.registry import CHAMPION, EXPERIMENT, PRODUCTION, STAGING, Tag

DOCTOR = ("python", "src/doctor.py")

Finding = dict[str, str]


@pytest.fixture(scope="module")
def patient(template: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose version 2 is in production, with a server that runs."""
    project = copied(template, tmp_path_factory.mktemp("doctor"))
    project.do("python", "src/start_mlflow.py")
    moved(project, "promote 1", "promote 2")
    project.do("python", "src/status.py", "--sync")
    yield project
    project.do("python", "src/stop_mlflow.py")


@pytest.fixture(scope="module")
def api(patient: Project) -> Iterator[Api]:
    """An API that serves version 2 and does not look again."""
    with running(patient, RELOAD_SECONDS="3600") as api:
        api.wait_for_version("2")
        yield api


def url(api: Api) -> str:
    return str(api.client.base_url).rstrip("/")


def look(project: Project, python: str = "python", **variables: str) -> list[Finding]:
    """What doctor finds, with the exit code that belongs to it."""
    done = project.run(python, "src/doctor.py", "--json", **variables)
    assert "Traceback" not in done.stderr, done.stderr
    found: list[Finding] = json.loads(done.stdout)
    assert done.returncode == any(finding["state"] == BAD for finding in found), done.stdout
    assert all(set(finding) == {"check", "state", "said", "mend"} for finding in found)
    assert not any("\n" in text for finding in found for text in finding.values())
    return found


def bad(found: list[Finding], check: str) -> Finding:
    """The one thing that is bad in this check."""
    (finding,) = (f for f in found if f["check"] == check and f["state"] == BAD)
    return finding


def away() -> str:
    """An address where nothing listens: what needs no server is looked at in a second."""
    return f"http://127.0.0.1:{free_port()}"


def test_nothing_is_wrong_with_a_project_that_works_and_nothing_is_changed(
    patient: Project, api: Api
) -> None:
    before = everything_in(patient)
    lines = patient.do(*DOCTOR, API_URLS=f"{url(api)},{away()}").splitlines()
    assert everything_in(patient) == before
    *found, summary = lines
    (note,) = [line for line in found if not line.startswith("ok ")]
    assert note.startswith("note  API ")
    assert "does not answer" in note
    assert summary == f"{len(found)} findings, none BAD, 1 note"
    for said in (
        "packages are the pinned ones",
        "GB are free where ",
        "mlflow.db has the schema of the installed MLflow",
        f"MLflow answers at {patient.mlflow_uri}",
        f"the files of experiment {EXPERIMENT} go through the server",
        "production is at version 2, as the ledger says",
        "version 2 loads and answers its example",
        f"{url(api)} serves version 2, as it should",
        "DVC's cache has the data of version 2",
        "registry/ says what MLflow says",
    ):
        assert sum(said in line for line in found) == 1, said


def everything_in(project: Project) -> list[Any]:
    """What MLflow and registry/ hold."""
    registry = registry_of(project)
    experiments = list(registry.mlflow.pages("experiments/search", "experiments", max_results=99))
    numbers = [experiment["experiment_id"] for experiment in experiments]
    runs = list(registry.mlflow.pages("runs/search", "runs", experiment_ids=numbers))
    mirror = [path.read_bytes() for path in sorted((project.root / "registry").glob("*.*"))]
    return [experiments, runs, registry.versions(), registry.aliases(), mirror]


@dataclass(frozen=True)
class Case:
    """What doctor finds where much is wrong at once, and after it was mended as it says."""

    ill: list[Finding]
    mended: list[Finding]


@pytest.fixture(scope="module")
def case(patient: Project, api: Api) -> Case:
    registry = registry_of(patient)
    moved(patient, "promote 1")
    model = f"{registry.artifact_uri('1')}/extra_files/scorer.onnx"
    registry.mlflow.put_artifact(model, registry.mlflow.get_artifact(model)[:100])
    registry.point(STAGING, "2")
    registry.point("mine", "3")
    ledger = Ledger(registry)
    standing = stand(ledger, CHAMPION)
    assert standing.last
    ledger.append(standing.last, Move(CHAMPION, "", "2", "promote", "killed"))
    shutil.rmtree(patient.root / ".dvc" / "cache")
    lock = patient.root / "requirements.lock"
    pins = lock.read_text()
    other = re.sub(r"joblib==\S+", "joblib==0.1", re.sub(r"mlflow==\S+", "mlflow==3.0.0", pins))
    lock.write_text(f"{other}\nno-such-package==1 \\\n")
    experiment = str(registry.experiment_id(EXPERIMENT))
    local = with_a_local_root(patient)
    ill = look(patient, API_URLS=url(api))

    lock.write_text(pins)
    rename(patient, local, f"{EXPERIMENT}-old")
    rename(patient, experiment, EXPERIMENT)
    registry.point("mine", "")
    patient.do("python", "src/rollback.py")
    patient.do("python", "src/promote.py", "--alias", STAGING, "--version", "2")
    patient.do("dvc", "commit")
    patient.do("python", "src/status.py", "--sync")
    return Case(ill, look(patient, API_URLS=url(api)))


def with_a_local_root(project: Project) -> str:
    """Put an experiment with a local root in the place of the real one; its id."""
    registry = registry_of(project)
    rename(project, str(registry.experiment_id(EXPERIMENT)), "aside")
    made = registry.mlflow.post(
        "experiments/create", name=EXPERIMENT, artifact_location="/var/lib/somewhere"
    )
    return str(made["experiment_id"])


def rename(project: Project, number: str, name: str) -> None:
    registry_of(project).mlflow.post("experiments/update", experiment_id=number, new_name=name)


def test_packages_other_than_the_pinned_ones(case: Case) -> None:
    finding = bad(case.ill, "packages")
    assert re.search(r"joblib [\d.]+ \(pinned: 0\.1\)", finding["said"])
    assert "no-such-package is missing (pinned: 1)" in finding["said"]
    assert "requirements.lock" in finding["mend"]


def test_a_server_other_than_the_pinned_mlflow(case: Case) -> None:
    finding = bad(case.ill, "server version")
    assert re.search(r"the server at http\S+ is MLflow [\d.]+ \(pinned: 3\.0\.0\)", finding["said"])


def test_files_that_do_not_go_through_the_server(patient: Project, case: Case) -> None:
    finding = bad(case.ill, "artifacts")
    assert f"experiment {EXPERIMENT} keeps its files at " in finding["said"]
    assert "/var/lib/somewhere" in finding["said"]
    assert "--artifacts-destination" in finding["mend"]
    assert f"MLFLOW_TRACKING_URI={patient.mlflow_uri} mlflow experiments rename" in finding["mend"]


def test_an_alias_that_was_moved_outside_the_ledger(case: Case) -> None:
    (finding,) = (f for f in case.ill if f["check"] == "ledger" and f["said"].startswith(STAGING))
    assert finding["state"] == BAD
    assert "staging is at version 2 and the ledger has it at none" in finding["said"]


def test_an_alias_that_the_ledger_does_not_keep_is_a_note(case: Case) -> None:
    (finding,) = (f for f in case.ill if f["check"] == "ledger" and f["said"].startswith("mine"))
    assert finding["state"] == NOTE


def test_a_move_that_was_interrupted(case: Case) -> None:
    (finding,) = (f for f in case.ill if "interrupted" in f["said"])
    assert finding["state"] == BAD
    assert "a move of champion was interrupted: none → 2, promote by" in finding["said"]
    assert "python src/status.py" in finding["mend"]


def test_a_version_in_production_that_does_not_load(case: Case) -> None:
    finding = bad(case.ill, "production")
    assert "version 1 does not load: its file has the SHA-256 " in finding["said"]
    assert "python src/rollback.py" in finding["mend"]


def test_an_api_that_serves_something_else(case: Case, api: Api) -> None:
    finding = bad(case.ill, "API")
    assert f"{url(api)} serves version 2, not 1" in finding["said"]
    assert "MLFLOW_TRACKING_URI" in finding["mend"]


def test_data_that_dvc_has_lost_and_the_working_tree_has(case: Case) -> None:
    finding = bad(case.ill, "data")
    assert "lacks the data of version 1" in finding["said"]
    assert "data/raw.csv is all there is of them" in finding["said"]
    assert finding["mend"].startswith("`dvc commit`")


def test_a_mirror_that_is_behind(case: Case) -> None:
    finding = bad(case.ill, "registry/")
    assert "where MLflow has" in finding["said"]
    assert finding["mend"] == "`python src/status.py --sync`"


def test_nothing_is_wrong_after_it_was_mended_as_doctor_says(patient: Project, case: Case) -> None:
    assert {finding["state"] for finding in case.mended} == {OK}
    aliases = registry_of(patient).aliases()
    assert aliases == {PRODUCTION: "2", STAGING: "2", CHAMPION: "2"}


def test_data_that_are_in_no_working_tree(patient: Project, tmp_path: Path) -> None:
    cache, raw = patient.root / ".dvc" / "cache", patient.root / "data" / "raw.csv"
    kept = raw.read_bytes()
    patient.do("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    patient.do("dvc", "push")
    aside = cache.rename(tmp_path / "cache")
    raw.write_text("another table\n")
    try:
        state, said, mend = snapshot(patient)
        assert (state, "a remote is set: store" in said) == (BAD, True)
        patient.do("dvc", *mend.split("`")[1].split()[1:])
        assert snapshot(patient)[0] == OK

        patient.do("dvc", "remote", "remove", "store")
        shutil.rmtree(cache)
        state, said, mend = snapshot(patient)
        assert (state, "so they are lost here" in said) == (BAD, True)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        aside.rename(cache)
        raw.write_bytes(kept)


def snapshot(project: Project) -> list[str]:
    """What the check of the data alone says, without an activated environment: no `dvc` on PATH."""
    tags = registry_of(project).version("2").tags
    code = f"""
import json, sys
sys.path.insert(0, "src")
from churn import installation
[found] = installation.snapshot("2", {tags[Tag.RAW_SHA256]!r}, {tags[Tag.RAW_MD5]!r})
print(json.dumps(found))
"""
    found: list[str] = json.loads(project.do(sys.executable, "-c", code, PATH="/usr/bin:/bin"))
    return found


def test_a_server_that_is_not_there_is_not_started(patient: Project) -> None:
    before = len(servers(patient))
    uri = away()
    found = look(patient, MLFLOW_TRACKING_URI=uri)
    assert len(servers(patient)) == before
    finding = bad(found, "server")
    assert f"no MLflow server at {uri}" in finding["said"]
    assert "python src/start_mlflow.py" in finding["mend"]
    skipped = [f for f in found if f["said"] == "not checked: MLflow does not answer"]
    assert [f["check"] for f in skipped][-1] == "registry/"
    assert {f["state"] for f in skipped} == {NOTE}


def test_why_the_server_did_not_start_is_said(patient: Project) -> None:
    log = patient.root / "mlflow" / "server.log"
    kept = log.read_bytes()
    with socket.socket() as taken:  # bound and not listening
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        patient.refused("python", "src/start_mlflow.py", code=3, MLFLOW_TRACKING_URI=uri)
        found = look(patient, MLFLOW_TRACKING_URI=uri)
    log.write_bytes(kept)
    assert "address already in use" in bad(found, "server")["said"]


def test_a_server_elsewhere_that_is_not_there(patient: Project) -> None:
    found = look(patient, MLFLOW_TRACKING_URI="http://mlflow.invalid:5000")
    finding = bad(found, "server")
    assert "http://mlflow.invalid:5000" in finding["said"]
    assert "set MLFLOW_TRACKING_URI" in finding["mend"]


def test_a_server_that_refuses_the_host_behind_a_green_health_endpoint(
    patient: Project, tmp_path: Path
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/db", "--allowed-hosts", "elsewhere"]
    environment = local_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: is_green(uri), 120)
        finding = bad(look(patient, MLFLOW_TRACKING_URI=uri), "server")
    finally:
        server.terminate()
        server.wait(30)
    assert f"{uri}/health is green and every real route is refused (HTTP 403)" in finding["said"]
    assert f"--allowed-hosts 127.0.0.1:{port}" in finding["said"]
    assert "--allowed-hosts" in finding["mend"]


def is_green(uri: str) -> bool:
    try:
        return httpx.get(f"{uri}/health").is_success
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize(
    ("revision", "said", "mend"),
    [
        ("451aebb31d03", "an older schema (451aebb31d03)", "mlflow db upgrade sqlite:///mlflow/ml"),
        ("ffffffffffff", "a newer MLflow made it", "install that MLflow"),
    ],
)
def test_a_database_of_another_mlflow(
    template: Project, tmp_path: Path, revision: str, said: str, mend: str
) -> None:
    project = copied(template, tmp_path)
    database = project.root / "mlflow" / "mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    content = database.read_bytes()
    finding = bad(look(project), "database")
    assert said in finding["said"]
    assert mend in finding["mend"]
    assert database.read_bytes() == content


def test_a_database_that_is_none(template: Project, tmp_path: Path) -> None:
    project = copied(template, tmp_path)
    (project.root / "mlflow" / "mlflow.db").write_text("lost+found")
    assert "file is not a database" in bad(look(project), "database")["said"]


def test_locks_that_dvc_cannot_read(template: Project, tmp_path: Path) -> None:
    project = copied(template, tmp_path)
    rwlock = project.root / ".dvc" / "tmp" / "rwlock"
    rwlock.write_text('{"write": {')
    finding = bad(look(project), "locks")
    assert "RWLock" in project.run("dvc", "repro").stderr
    subprocess.run(finding["mend"].strip("`"), shell=True, cwd=project.root, check=True)  # noqa: S602
    assert not [found for found in look(project) if found["check"] == "locks" and found["mend"]]
    project.do("dvc", "repro")


def test_a_python_without_the_packages_is_said_and_ends_in_no_traceback(
    template: Project, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare")
    found = look(template, str(tmp_path / "bare" / "bin" / "python"))
    finding = bad(found, "packages")
    assert "aiohttp is missing (pinned: " in finding["said"]
    assert str(tmp_path / "bare") in finding["said"]
    assert "make setup" in bad(found, "database")["said"]
    assert "not checked: the package " in found[-1]["said"]


def test_a_lock_that_is_not_there(template: Project, tmp_path: Path) -> None:
    project = copied(template, tmp_path)
    (project.root / "requirements.lock").unlink()
    assert "requirements.lock" in bad(look(project), "packages")["said"]


def test_a_disk_that_is_nearly_full() -> None:
    plenty, full = list(installation.disk(0, 0)), list(installation.disk(10**18))
    assert {state for state, _, _ in plenty} == {OK}
    assert {state for state, _, _ in full} == {BAD}
    assert re.search(r"[\d.,]+ of [\d.,]+ GB are free where .+ lies", full[0][1])
    assert [mend for _, _, mend in full if not mend.startswith("make room: `du ")] == []
