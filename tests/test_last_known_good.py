"""What an API keeps on disk, and what it serves from there while MLflow is away."""

import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Api, Serve, moved, registry_of, wait_until
from project import Project, free_port
from test_api import PROMOTE, ROW

from churn.last_known_good import LastKnownGood, NotKept, VersionFiles
from churn.registry import PRODUCTION, Version


def files(run_id: str, number: str = "1") -> VersionFiles:
    version = Version(number, run_id, "2026-01-01", {"gate": "passed", "scorer_sha256": "…"})
    return VersionFiles(version, b"scorer of " + run_id.encode(), b"{}", "3.17.2")


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    disk = LastKnownGood(tmp_path / "served")
    with pytest.raises(NotKept, match="no version was served here before"):
        disk.current()
    disk.keep(files("a"))
    disk.point("a")
    disk.keep(files("b", "2"))
    assert disk.current() == files("a")
    disk.point("b")
    assert LastKnownGood(tmp_path / "served").current() == files("b", "2")
    assert disk.find("a") == files("a")
    assert disk.find("c") is None


def test_the_oldest_go_and_never_the_one_that_is_served(tmp_path: Path) -> None:
    disk = LastKnownGood(tmp_path)
    for age, name in enumerate("abcde"):
        disk.keep(files(name))
        os.utime(tmp_path / f"{name}.zip", (1000 + age, 1000 + age))
    disk.point("a")
    assert {path.stem for path in tmp_path.glob("*.zip")} == {"a", "d", "e"}


def test_a_copy_that_cannot_be_used_is_replaced(tmp_path: Path) -> None:
    disk = LastKnownGood(tmp_path)
    disk.keep(files("a"))
    (tmp_path / "a.zip").write_bytes(b"broken")
    disk.keep(files("a"))
    assert disk.find("a") == files("a")


def test_a_version_that_could_not_be_kept_leaves_the_one_before(tmp_path: Path) -> None:
    disk = LastKnownGood(tmp_path)
    disk.keep(files("a"))
    disk.point("a")
    with pytest.raises(FileNotFoundError):
        disk.point("b")
    assert disk.current() == files("a")
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "current"}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"{}"])
def test_what_cannot_be_read_is_said_without_a_path(tmp_path: Path, content: bytes) -> None:
    disk = LastKnownGood(tmp_path)
    disk.keep(files("a"))
    disk.point("a")
    (tmp_path / "a.zip").write_bytes(content)
    assert disk.find("a") is None
    with pytest.raises(NotKept, match="cannot be read") as error:
        disk.current()
    assert str(tmp_path) not in str(error.value)
    (tmp_path / "a.zip").unlink()
    with pytest.raises(NotKept, match="is gone from the disk"):
        disk.current()


def test_a_version_that_lacks_a_file_is_not_read(tmp_path: Path) -> None:
    disk = LastKnownGood(tmp_path)
    disk.keep(files("a"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("version.json", "{}")
    assert disk.find("a") is None


@pytest.mark.parametrize("name", ["../a", "a/b", "", "a.b"])
def test_a_run_has_no_path_in_its_name(tmp_path: Path, name: str) -> None:
    assert LastKnownGood(tmp_path).find(name) is None


def elsewhere() -> str:
    """An address where no MLflow is, and none would be started."""
    return f"http://127.0.0.1:{free_port()}/mlflow"


def served(api: Api) -> str | None:
    state = api.client.get("/model").json()
    return state["served"] and state["served"]["version"]


def test_without_mlflow_the_version_that_was_served_last_answers(
    trained: Project, serve: Serve, tmp_path: Path
) -> None:
    moved(trained, "promote 1")
    cache = {"MODEL_CACHE": str(tmp_path / "served"), "RELOAD_SECONDS": "0.2"}
    first = serve(trained, **cache)
    first.wait_for_version("1")
    moved(trained, "promote 2")
    first.wait_for_version("2")
    moved(trained, "rollback 1")
    first.wait_for_version("1")
    wanted = first.predict(**ROW).json()["probability"]

    away = Project(trained.root, elsewhere())
    second = serve(away, **cache)
    wait_until(lambda: second.client.get("/ready").status_code == 200)
    answer = second.predict(**ROW).json()
    assert (answer["model_version"], answer["probability"]) == ("1", wanted)
    assert "no MLflow server" in second.client.get("/ready").json()["last_known_good"]
    state = second.client.get("/model").json()
    assert state["last_known_good"] is True
    assert state["desired_version"] is None
    assert "version 1, which was served last, answers" in state["problem"]

    closed = serve(away, **cache, API_KEYS="crm:the-key-of-the-crm")
    wait_until(lambda: closed.client.get("/ready").status_code == 200)
    assert closed.client.get("/ready").json()["last_known_good"] == "GET /model tells why"

    nothing = serve(away, MODEL_CACHE=str(tmp_path / "empty"))
    assert nothing.client.get("/ready").status_code == 503
    assert "no version was served here before" in nothing.predict(**ROW).json()["detail"]


def test_when_mlflow_is_there_again_it_decides(
    project: Project, serve: Serve, tmp_path: Path
) -> None:
    cache = {"MODEL_CACHE": str(tmp_path / "served"), "RELOAD_SECONDS": "0.2"}
    project.do(*PROMOTE, "--version", "2")
    serve(project, **cache).wait_for_version("2")
    project.do("python", "src/stop_mlflow.py")
    port = int(project.mlflow_uri.rpartition(":")[2])
    with ThreadingHTTPServer(("127.0.0.1", port), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        api = serve(project, **cache)
        wait_until(lambda: served(api) == "2")
        assert api.client.get("/model").json()["last_known_good"] is True
        other.shutdown()
    project.do("python", "src/start_mlflow.py")
    api.wait_for_version("2")
    assert api.client.get("/model").json()["last_known_good"] is False
    project.do(*PROMOTE, "--version", "1")
    api.wait_for_version("1")


def test_a_broken_version_in_production_is_refused_once_and_the_last_good_one_serves(
    project: Project, serve: Serve, tmp_path: Path
) -> None:
    cache = {"MODEL_CACHE": str(tmp_path / "served"), "RELOAD_SECONDS": "0.1"}
    project.do(*PROMOTE, "--version", "2")
    serve(project, **cache).wait_for_version("2")
    server = registry_of(project)
    model = f"{server.artifact_uri('1')}/extra_files/scorer.onnx"
    server.mlflow.put_artifact(model, b"broken")
    moved(project, "promote 1")

    # A new process, as after a crash: it has never served anything itself.
    api = serve(project, **cache)
    wait_until(lambda: served(api) == "2")
    state = api.client.get("/model").json()
    assert state["last_known_good"] is True
    assert state["desired_version"] == "1"
    assert state["refused"]["version"] == "1"
    assert "SHA-256" in state["refused"]["reason"]

    def refusals() -> int:
        lines = api.client.get("/metrics").text.splitlines()
        (line,) = (each for each in lines if each.startswith("churn_refused_versions_total"))
        return int(float(line.split()[1]))

    # It has looked again and again: a move of another version is seen, and this one is not tried.
    registry = registry_of(project)
    registry.point(PRODUCTION, "3")
    api.wait_for_version("3")
    registry.point(PRODUCTION, "1")
    wait_until(lambda: api.client.get("/model").json()["refused"] is not None)
    assert api.predict(**ROW).json()["model_version"] == "3"
    assert refusals() == 2
    looked = [api.client.get("/model").json()["desired_version"] for _ in range(50)]
    assert set(looked) == {"1"}
    assert refusals() == 2

    moved(project, "rollback 2")
    api.wait_for_version("2")
    state = api.client.get("/model").json()
    assert state["refused"] is None
    assert state["last_known_good"] is False


def test_a_cache_that_cannot_be_written_stops_nothing_and_is_told(
    trained: Project, serve: Serve, tmp_path: Path
) -> None:
    moved(trained, "promote 2")
    (tmp_path / "file").write_text("")
    api = serve(trained, MODEL_CACHE=str(tmp_path / "file" / "served"))
    api.wait_for_version("2")
    assert "cannot be kept on disk" in api.client.get("/model").json()["cache_problem"]
    ready = api.client.get("/ready")
    assert ready.status_code == 200
    assert "cannot be kept on disk" in ready.json()["model_cache"]
