"""The MLflow server that starts on demand."""

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from project import Project, checkout, free_port, local_environment, servers

START = ("python", "src/start_mlflow.py")
STOP = ("python", "src/stop_mlflow.py")


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Project]:
    """A checkout in which nothing has run."""
    project = checkout(tmp_path)
    yield project
    project.do(*STOP)


def test_commands_at_once_start_one_server(empty: Project) -> None:
    environment = local_environment(MLFLOW_TRACKING_URI=empty.mlflow_uri)
    commands = [
        subprocess.Popen([sys.executable, *START[1:]], cwd=empty.root, env=environment)
        for _ in range(4)
    ]
    assert [command.wait() for command in commands] == [0, 0, 0, 0]
    assert len(servers(empty)) == 1


def test_stop_ends_the_server_and_keeps_its_data(empty: Project) -> None:
    empty.do(*START)
    assert empty.mlflow_uri in empty.do(*STOP)
    assert servers(empty) == []
    assert (empty.root / "mlflow/mlflow.db").exists()
    assert "no MLflow server" in empty.do(*STOP)


def test_stop_leaves_a_process_alone_that_got_the_number_of_the_server(empty: Project) -> None:
    other = subprocess.Popen(["sleep", "600"])
    record = empty.root / "mlflow/server-1.json"
    record.write_text(f'{{"pid": {other.pid}, "started": 1.0, "uri": "{empty.mlflow_uri}"}}')
    empty.do(*STOP)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_stop_in_a_copy_of_the_folder_leaves_the_server_of_the_original(
    empty: Project, tmp_path: Path
) -> None:
    empty.do(*START)
    copy = Project(tmp_path / "copy", empty.mlflow_uri)
    shutil.copytree(empty.root, copy.root)
    copy.do(*STOP)
    assert len(servers(empty)) == 1


def test_a_server_that_another_checkout_started_is_used_and_not_stopped(
    empty: Project, tmp_path: Path
) -> None:
    second = checkout(tmp_path / "second")
    empty.do(*START)
    neighbour = Project(second.root, empty.mlflow_uri)
    neighbour.do(*START)
    neighbour.do(*STOP)
    assert len(servers(empty)) == 1
    assert servers(second) == []


class NotMlflow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Server", "AirTunes/1.0")
        self.end_headers()


def test_a_port_taken_by_another_web_server_is_said(empty: Project) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), NotMlflow) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{other.server_port}"
        line = empty.refused("python", "src/promote.py", code=3, MLFLOW_TRACKING_URI=uri)
        other.shutdown()
    assert "not as MLflow" in line
    assert f"MLFLOW_TRACKING_URI=http://127.0.0.1:{other.server_port + 1}" in line


def test_a_port_taken_by_something_that_is_no_web_server_is_said(empty: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"220 mail.example.invalid ESMTP\r\n")

        threading.Thread(target=hang_up, daemon=True).start()
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}"
        line = empty.refused("python", "src/promote.py", code=3, MLFLOW_TRACKING_URI=uri)
    assert uri in line


def test_a_server_elsewhere_that_does_not_answer_is_an_error_and_starts_nothing(
    empty: Project,
) -> None:
    for command in ("promote", "rollback", "start_mlflow"):
        line = empty.refused(
            "python",
            f"src/{command}.py",
            code=3,
            MLFLOW_TRACKING_URI=f"http://mlflow.invalid:{free_port()}",
        )
        assert "mlflow.invalid" in line
    assert servers(empty) == []


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "./mlruns", "http://", "http://h:x"])
def test_an_address_that_is_not_http_is_refused_with_its_value(empty: Project, uri: str) -> None:
    line = empty.refused("python", "src/promote.py", MLFLOW_TRACKING_URI=uri)
    assert "MLFLOW_TRACKING_URI" in line
    assert uri in line


def test_the_server_listens_on_loopback_only(empty: Project) -> None:
    empty.do(*START)
    (process,) = servers(empty)
    listening = [c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
