"""Fixtures: trained projects to work in, and an API process to talk to.

Training takes half a minute and a server seven seconds to start, so all tests copy what one has
trained. A test that only reads or moves aliases shares a server with the others of its worker, and
finds no alias and no recorded move; one that trains gets a copy and a server of its own.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import postgresql
import pytest
from project import Project, checkout, free_port, local_environment

from churn import ledger, moves
from churn.environment import read_environment
from churn.errors import Unreachable
from churn.ledger import Ledger, Move
from churn.registry import MODEL, PRODUCTION, Registry, Tag
from churn.rest import Mlflow

PRINTED = "printed"
"""The property of a test whose value is printed when all tests have ended."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have counted, which pytest-xdist's workers cannot print."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == PRINTED:
                terminalreporter.write_line(f"{report.nodeid}: {value}")


def train_three(project: Project) -> Project:
    """Three versions: 1 and 2 passed their gate, 3 failed it. Nothing is in production. Version 2
    is a little worse than version 1 on the same rows, and surely so."""
    project.do("dvc", "repro")
    project.edit("params.yaml", "C: 1.0", "C: 0.01")
    project.do("dvc", "repro")
    project.edit("params.yaml", "C: 0.01", "C: 0.02")
    project.edit("params.yaml", "gate_f1: 0.55", "gate_f1: 0.99")
    project.do("dvc", "repro")
    return project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """A project with three versions, whose server is stopped; to be copied.

    One for all workers: the first one trains, and the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "template"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "trained").exists():
            project = train_three(checkout(folder))
            project.do("python", "src/stop_mlflow.py")
            (folder / "trained").write_text(str(project.root))
    return Project(Path((folder / "trained").read_text()), "")


def copied(template: Project, folder: Path) -> Project:
    """A copy of the template with a port of its own."""
    root = folder / template.root.name
    shutil.copytree(template.root, root)
    return Project(root, f"http://127.0.0.1:{free_port()}")


@pytest.fixture(scope="session")
def shared(template: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the template whose server runs for all tests that use `trained`."""
    project = copied(template, tmp_path_factory.mktemp("shared"))
    project.do("python", "src/start_mlflow.py")
    yield project
    project.do("python", "src/stop_mlflow.py")


@pytest.fixture(scope="session")
def shared_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The same three versions, on a server whose store is PostgreSQL."""
    if postgresql.binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgresql")
    project = checkout(folder)
    with postgresql.on_postgresql(project, folder):
        wait_until(lambda: is_there(project), seconds=240)
        yield train_three(project)


def is_there(project: Project) -> bool:
    try:
        return registry_of(project).experiment_id("Default") is not None
    except Unreachable:
        return False


@pytest.fixture
def trained(shared: Project) -> Project:
    """Three versions to read and to move aliases between: none is set, no move is recorded."""
    return emptied(shared)


@pytest.fixture
def registered(trained: Project) -> Project:
    """As `trained`; test_on_postgresql.py puts another in its place."""
    return trained


def emptied(project: Project) -> Project:
    """The project with no alias, no ledger and no trial remembered."""
    server = registry_of(project)
    for version in server.versions():
        if Tag.SERVABLE in version.tags:
            tag = {"name": MODEL, "version": version.number, "key": Tag.SERVABLE}
            server.mlflow.delete("model-versions/delete-tag", **tag)
    for alias in server.aliases():
        server.point(alias, "")
    found = server.experiment(ledger.NAME)
    if found:
        # A name stays taken after its experiment's deletion.
        parts = {"experiment_id": found["experiment_id"], "new_name": f"old-{uuid.uuid4().hex}"}
        if found["lifecycle_stage"] == "deleted":
            server.mlflow.post("experiments/restore", experiment_id=found["experiment_id"])
        server.mlflow.post("experiments/update", **parts)
        server.mlflow.post("experiments/delete", experiment_id=found["experiment_id"])
    return project


def moved(project: Project, *steps: str, alias: str = PRODUCTION) -> None:
    """Make moves such as `promote 2` and `rollback 1`, without the trial of a promotion."""
    server = Ledger(registry_of(project))
    for step in steps:
        command, to = step.split()
        standing = moves.stand(server, alias)
        moves.move(server, standing, Move(alias, standing.version, to, command))


def registry_of(project: Project) -> Registry:
    """A connection to the project's running server."""
    return Registry(Mlflow(read_environment({"MLFLOW_TRACKING_URI": project.mlflow_uri})))


@pytest.fixture
def project(template: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the template, whose MLflow server starts when a command needs it."""
    copy = copied(template, tmp_path)
    yield copy
    copy.do("python", "src/stop_mlflow.py")


@dataclass(frozen=True)
class Api:
    """A running `python src/api.py`."""

    client: httpx.Client
    process: subprocess.Popen[bytes]

    def predict(self, **row: object) -> httpx.Response:
        return self.client.post("/predict", json=row)

    def wait_for_version(self, number: str) -> None:
        """Return when the version is both served and desired; fail when it never is."""

        def is_there() -> bool:
            state = self.client.get("/model").json()
            served = state["served"] and state["served"]["version"]
            return bool(served == state["desired_version"] == number)

        wait_until(is_there)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Return when `holds()` does; the limit is there to end a test that has failed."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def running(project: Project, *command: str, **variables: str) -> Iterator[Api]:
    """The API of `project`, started by `command`, once its port answers."""
    port = str(free_port())
    process = subprocess.Popen(
        command or ("python", "src/api.py"),
        cwd=project.root,
        env=local_environment(MLFLOW_TRACKING_URI=project.mlflow_uri, PORT=port, **variables),
        start_new_session=True,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        api = Api(client, process)
        try:
            wait_until(lambda: answers(api), seconds=240)
            yield api
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def answers(api: Api) -> bool:
    assert api.process.poll() is None, "the API has ended"
    try:
        return api.client.get("/startup").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def shared_api(shared: Project) -> Iterator[Api]:
    """An API of the shared project, for all tests that use `api`."""
    with running(shared, RELOAD_SECONDS="0.2") as api:
        yield api


@pytest.fixture
def api(trained: Project, shared_api: Api) -> Api:
    """An API of `trained` that serves version 2."""
    server = registry_of(trained)
    server.mlflow.post("registered-models/alias", name=MODEL, alias=PRODUCTION, version="2")
    shared_api.wait_for_version("2")
    return shared_api


Serve = Callable[..., Api]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start an API of a project; it is stopped after the test."""
    with ExitStack() as stack:
        yield lambda project, *command, **variables: stack.enter_context(
            running(project, *command, **variables)
        )
