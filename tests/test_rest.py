"""What the client does where a server fails: a real one over HTTP, which fails as often as told."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from conftest import registry_of
from project import Project

from churn import rest
from churn.environment import read_environment
from churn.errors import Unreachable, UserError
from churn.rest import Mlflow


class Failing(ThreadingHTTPServer):
    """Answers `{}` after `failures` answers of HTTP 500; keeps the routes that were asked for."""

    failures = 0

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Failing

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append(self.path.removeprefix("/api/2.0/mlflow/"))
        fails = len(self.server.asked) <= self.server.failures
        self.send_response(500 if fails else 200)
        self.end_headers()
        self.wfile.write(b"Internal Server Error" if fails else b"{}")

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Failing]:
    with Failing() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client(server: Failing) -> Mlflow:
    address = f"http://127.0.0.1:{server.server_port}"
    return Mlflow(read_environment({"MLFLOW_TRACKING_URI": address}))


def test_what_reads_is_asked_again_where_the_server_failed_once(server: Failing) -> None:
    server.failures = 1
    assert client(server).get("runs/get") == {}
    assert server.asked == ["runs/get"] * 2
    server.failures = 3
    assert list(client(server).pages("runs/search", "runs")) == []
    assert server.asked[2:] == ["runs/search"] * 2


def test_what_writes_is_sent_once(server: Failing) -> None:
    server.failures = 1
    with pytest.raises(Unreachable, match="failed with HTTP 500"):
        client(server).post("runs/create")
    assert server.asked == ["runs/create"]


def test_a_server_that_goes_on_failing_is_said_to(server: Failing) -> None:
    server.failures = 9
    with pytest.raises(Unreachable, match="failed with HTTP 500; see its log"):
        client(server).get("runs/get")
    assert server.asked == ["runs/get"] * 2


def test_an_answer_that_would_fill_the_memory_is_not_read(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = registry_of(trained)
    file = f"{server.artifact_uri('1')}/MLmodel"
    size = len(server.mlflow.get_artifact(file))
    monkeypatch.setattr(rest, "_LARGEST", size - 1)
    with pytest.raises(UserError, match=f"MLmodel is {size:,} bytes large"):
        server.mlflow.get_artifact(file)
