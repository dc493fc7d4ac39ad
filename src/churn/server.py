"""This checkout's own MLflow server: small, on loopback, started when a command needs it; or
shared with other machines, by start_mlflow.py --shared."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from churn import cli, files, paths
from churn.environment import Environment
from churn.errors import Unreachable, UserError
from churn.http import httpx
from churn.rest import Mlflow, NothingListens, NotTrusted, elsewhere, is_loopback

_LOG = paths.MLFLOW / "server.log"
_LOCK = paths.MLFLOW / "server.lock"
_START_SECONDS = 180
_STOP_SECONDS = 10
_OF_CLIENTS = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_PROBE = httpx.Timeout(10.0, connect=2.0)


def connect(environment: Environment) -> Mlflow:
    """A connection to the MLflow server at MLFLOW_TRACKING_URI, which answers.

    Where the address is loopback and nothing listens there, this checkout's own server is started
    on that port, detached, and waited for. Raises Unreachable where there is no MLflow to talk to.
    """
    try:
        probe(environment)
    except NothingListens as error:
        if not _may_start(environment.MLFLOW_TRACKING_URI):
            raise Unreachable(f"{error}. Is MLFLOW_TRACKING_URI right?") from None
        start(environment)
    return Mlflow(environment)


def probe(environment: Environment) -> None:
    """Ask a route of the API itself: /health stays green where every real route is refused."""
    client = Mlflow(environment, _PROBE)
    try:
        client.get("experiments/search", max_results=1)
    finally:
        client.close()


def _may_start(uri: str) -> bool:
    parts = urlsplit(uri)
    return is_loopback(uri) and parts.scheme == "http" and parts.path == ""


def start(environment: Environment) -> None:
    """Start the server unless it answers already, and return when it is healthy.

    A lock makes commands that come at once wait for the one that starts it.
    """
    if find_spec("mlflow") is None:  # the serving image has no MLflow
        raise Unreachable(
            f"no MLflow server at {environment.MLFLOW_TRACKING_URI}, and MLflow is not installed"
            " here to start one; set MLFLOW_TRACKING_URI"
        )
    with _locked():
        try:
            probe(environment)
            return
        except NothingListens:
            pass
        parts = urlsplit(environment.MLFLOW_TRACKING_URI)
        options = ["mlflow.server.fastapi_app:app", "--host", parts.hostname or "127.0.0.1"]
        options += ["--port", str(parts.port or 80)]
        _start(environment, options, {})


def share(environment: Environment, options: list[str], variables: dict[str, str]) -> None:
    """Start the server as `Sharing` says, and return when it answers at MLFLOW_TRACKING_URI as it
    will answer other machines.

    Raises UserError where a server of this checkout runs already.
    """
    with _locked():
        running = [record["uri"] for record in _records().values() if _process(record)]
        if running:
            raise UserError(
                f"this checkout's MLflow server runs already, at {running[0]}; `make stop` ends it"
            )
        known = (paths.MLFLOW / "basic_auth.db").exists()
        try:
            _start(environment, options, variables)
        except NotTrusted as error:
            more = "; the administrator is the one of the first start, not of this" if known else ""
            raise NotTrusted(f"{error}{more}") from None


def _start(environment: Environment, options: list[str], variables: dict[str, str]) -> None:
    uri = environment.MLFLOW_TRACKING_URI
    cli.step(f"starting the MLflow server at {uri} (log: {paths.shown(_LOG)})")
    process = _spawn(uri, options, variables)
    _wait_until_healthy(environment, process)


def _spawn(uri: str, options: list[str], additional: dict[str, str]) -> subprocess.Popen[bytes]:
    """One process instead of the two of `mlflow server`, whose parent only waits.

    Measured for 3.17.2: 280 MB and 7 s until healthy against 543 MB and 11 s. The variables are
    those that `mlflow server` hands to the same application. Paths are relative to the folder,
    so that its name may hold a space, a # or a %.
    """
    # A server that reads its own address as its store would call itself; and the name and the
    # password are for it to ask, not to know.
    kept = {name: value for name, value in os.environ.items() if name not in _OF_CLIENTS}
    variables = kept | {
        "_MLFLOW_SERVER_FILE_STORE": "sqlite:///mlflow.db",
        "_MLFLOW_SERVER_REGISTRY_STORE": "sqlite:///mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "./artifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **additional,
    }
    command = [sys.executable, "-m", "uvicorn", "--workers", "1", *options]
    paths.MLFLOW.mkdir(exist_ok=True)
    with _LOG.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=paths.MLFLOW,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    record = {"pid": process.pid, "started": psutil.Process(process.pid).create_time(), "uri": uri}
    files.write_json(paths.MLFLOW / f"server-{process.pid}.json", record)
    return process


def _wait_until_healthy(environment: Environment, process: subprocess.Popen[bytes]) -> None:
    uri = environment.MLFLOW_TRACKING_URI
    for _ in range(_START_SECONDS * 10):
        time.sleep(0.1)
        if process.poll() is not None:
            raise Unreachable(
                f"the MLflow server at {uri} ended at once, saying: {last_words() or 'nothing'}."
                f" See {paths.shown(_LOG)}. {elsewhere(uri)}"
            )
        try:
            probe(environment)
            return
        except NotTrusted:
            stop()
            raise
        except Unreachable:  # it may refuse, reset or fail while it starts
            continue
    stop()
    raise Unreachable(
        f"the MLflow server does not answer at {uri} after {_START_SECONDS} s; see"
        f" {paths.shown(_LOG)}"
    )


def last_words() -> str:
    """The last line of this checkout's server log that tells of an error, if it ended with one."""
    try:
        lines = _LOG.read_text(errors="replace").strip().splitlines()[-5:]
    except FileNotFoundError:
        return ""
    errors = [line.strip() for line in lines if "error" in line.lower()]
    return errors[-1] if errors else ""


def stop() -> list[str]:
    """End the servers that this checkout started, and return their addresses."""
    stopped = []
    for path, record in _records().items():
        process = _process(record)
        if process and _terminate(process):
            stopped.append(str(record["uri"]))
        path.unlink(missing_ok=True)
    return stopped


def _records() -> dict[Path, dict[str, Any]]:
    """What was written of each server that this checkout started: pid, start and address."""
    found = sorted(paths.MLFLOW.glob("server-*.json"))
    return {path: json.loads(path.read_text()) for path in found}


def _process(record: dict[str, Any]) -> psutil.Process | None:
    """The server that was recorded, unless it is gone."""
    try:
        process = psutil.Process(record["pid"])
        # The number may have gone to another program since, and a copy of the folder holds the
        # record of a server that is not its own.
        is_it = process.create_time() == record["started"] and Path(process.cwd()) == paths.MLFLOW
    except psutil.NoSuchProcess:
        return None
    return process if is_it else None


def _terminate(process: psutil.Process) -> bool:
    """End the process and wait for its end; False where it is gone already."""
    try:
        process.terminate()
        if not _ended(process):
            process.kill()
            _ended(process)
    except psutil.NoSuchProcess:
        return False
    return True


def _ended(process: psutil.Process) -> bool:
    """Wait for the end of the process; False where it goes on. One whose parent has not asked for
    it yet, such as an API that started the server, has ended as well."""
    for _ in range(_STOP_SECONDS * 20):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@contextmanager
def _locked() -> Iterator[None]:
    """Only one process of this machine at a time; the lock ends with its process."""
    paths.MLFLOW.mkdir(exist_ok=True)
    with _LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
