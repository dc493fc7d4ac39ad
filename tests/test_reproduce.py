"""reproduce.py: the commit, the data and the model, built again for real."""

import hashlib
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import copied, registry_of, wait_until
from project import Project, local_environment

from churn.registry import MODEL, Registry, Tag
from churn.scorer import SCHEMA_FILE, SCORER_FILE

REPRODUCE = ("python", "src/reproduce.py", "--version")


@pytest.fixture(scope="module")
def origin(template: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Version 1 was trained from a clean commit, 2 and 3 from parameters nobody committed."""
    project = copied(template, tmp_path_factory.mktemp("reproduce"))
    project.do("python", "src/start_mlflow.py")
    yield project
    project.do("python", "src/stop_mlflow.py")


@pytest.fixture(autouse=True)
def nothing_is_left(origin: Project) -> Iterator[None]:
    """No worktree, no folder, no server, and nothing new in the registry."""
    folders = set(Path(tempfile.gettempdir()).glob("churn-reproduce-*"))
    yield
    assert len(origin.do("git", "worktree", "list").splitlines()) == 1
    assert set(Path(tempfile.gettempdir()).glob("churn-reproduce-*")) <= folders
    assert [version.number for version in registry_of(origin).versions()] == ["3", "2", "1"]


def test_a_version_from_a_clean_commit_with_its_data_in_a_remote_only(
    origin: Project, tmp_path: Path
) -> None:
    origin.do("dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    origin.do("dvc", "push")
    shutil.rmtree(origin.root / ".dvc" / "cache")
    (origin.root / "data/raw.csv").rename(tmp_path / "raw.csv")
    try:
        said = origin.do(*REPRODUCE, "1")
    finally:
        shutil.copyfile(tmp_path / "raw.csv", origin.root / "data/raw.csv")
        origin.do("dvc", "pull")
        origin.do("dvc", "remote", "remove", "--local", "store")
    assert "data/raw.csv: the same SHA-256" in said
    last = said.splitlines()[-1]
    assert last.startswith("reproduced: version 1: the same data, ")
    found = re.findall(r"([\d,]+) of ([\d,]+)", last)
    (metrics, rows) = [[int(count.replace(",", "")) for count in pair] for pair in found]
    assert metrics[0] == metrics[1] > 100
    assert rows[0] == rows[1] > 1000


def test_a_version_from_changes_that_were_never_committed(origin: Project) -> None:
    said = origin.do(*REPRODUCE, "2")
    assert "what was not committed, from MLflow, is applied and run: params.yaml" in said
    assert said.splitlines()[-1].startswith("reproduced: version 2: ")


SERVED = {SCORER_FILE: Tag.SCORER_SHA256, SCHEMA_FILE: Tag.SCHEMA_SHA256}


def files_of(server: Registry, number: str, name: str) -> bytes:
    return server.mlflow.get_artifact(f"{server.artifact_uri(number)}/{name}")


def put(server: Registry, number: str, name: str, content: bytes) -> None:
    """Put a file in the place of a version's own, as if training had recorded it."""
    server.mlflow.put_artifact(f"{server.artifact_uri(number)}/{name}", content)
    tag = {"key": SERVED[name], "value": hashlib.sha256(content).hexdigest()}
    server.mlflow.post("model-versions/set-tag", name=MODEL, version=number, **tag)


def test_what_differs_is_named(origin: Project) -> None:
    server = registry_of(origin)
    kept = {name: files_of(server, "3", name) for name in SERVED}
    metric = {"key": "roc_auc", "timestamp": 1, "step": 0}
    run_id = server.version("3").run_id
    run = server.mlflow.get("runs/get", run_id=run_id)["run"]
    (was,) = [m["value"] for m in run["data"]["metrics"] if m["key"] == "roc_auc"]
    for name in SERVED:
        put(server, "3", name, files_of(server, "1", name))
    now = 2_000_000_000_000
    server.mlflow.post("runs/log-metric", run_id=run_id, value=0.5, **metric | {"timestamp": now})
    line = origin.refused(*REPRODUCE, "3")
    for name, content in kept.items():
        put(server, "3", name, content)
    server.mlflow.post(
        "runs/log-metric", run_id=run_id, value=was, **metric | {"timestamp": now + 1}
    )
    assert line.startswith("not reproduced: version 3: 1 of ")
    assert f"metrics differ: roc_auc 0.5 is {was!r} here" in line
    assert "test rows differ, by " in line


def test_data_that_are_nowhere(origin: Project, tmp_path: Path) -> None:
    cache, raw = origin.root / ".dvc" / "cache", origin.root / "data/raw.csv"
    shutil.move(cache, tmp_path / "cache")
    raw.rename(tmp_path / "raw.csv")
    line = origin.refused(*REPRODUCE, "1")
    shutil.move(tmp_path / "cache", cache)
    shutil.copyfile(tmp_path / "raw.csv", raw)
    assert line.startswith("not reproduced: version 1: ")
    assert registry_of(origin).version("1").tags[Tag.RAW_SHA256][:10] in line
    assert "cache" in line


def test_a_commit_that_is_not_here(origin: Project) -> None:
    server = registry_of(origin)
    was = server.version("1").tags[Tag.GIT_COMMIT]

    def tag(commit: str) -> None:
        where = {"name": MODEL, "version": "1", "key": Tag.GIT_COMMIT}
        server.mlflow.post("model-versions/set-tag", **where, value=commit)

    tag("1" * 40)
    unknown = origin.refused(*REPRODUCE, "1")
    tag("unknown")
    none = origin.refused(*REPRODUCE, "1")
    tag(was)
    assert unknown.startswith("not reproduced: version 1: ")
    assert "git fetch" in unknown
    assert "trained outside a git repository" in none


def test_a_version_that_does_not_exist(origin: Project) -> None:
    assert "no version 77" in origin.refused(*REPRODUCE, "77")
    assert "--version" in origin.refused("python", "src/reproduce.py", code=2)


def test_ctrl_c_leaves_nothing(origin: Project) -> None:
    environment = local_environment(MLFLOW_TRACKING_URI=origin.mlflow_uri)
    process = subprocess.Popen(
        [*REPRODUCE, "1"], cwd=origin.root, env=environment, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(origin.do("git", "worktree", "list").splitlines()) == 2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by the keyboard" in said
    assert "Traceback" not in said
