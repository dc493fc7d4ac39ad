"""A real PostgreSQL, and an MLflow server that keeps its store there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from project import Project, free_port, local_environment


def binaries() -> Path | None:
    """The folder of PostgreSQL's own programs, which Debian keeps out of PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return installed[-1] if installed else None


@contextmanager
def database() -> Iterator[str]:
    """A fresh PostgreSQL on a port of its own; the SQLAlchemy URL of an empty database in it."""
    programs = binaries()
    assert programs is not None
    # PostgreSQL refuses to run as root: there it runs as the user of Debian's package, who cannot
    # enter the folders of pytest.
    user = "postgres" if os.getuid() == 0 else None
    port = free_port()

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        subprocess.run(command, cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL)

    with TemporaryDirectory(prefix="postgresql") as folder:
        if user:
            shutil.chown(folder, user)
        store = f"{folder}/data"
        run("initdb", "--pgdata", store, "--auth=trust", "--username=mlflow", "--no-sync")
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        )
        run("pg_ctl", "-D", store, "-l", f"{folder}/log", "--wait", "-o", options, "start")
        try:
            run("createdb", "--host=127.0.0.1", f"--port={port}", "--username=mlflow", "mlflow")
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/mlflow"
        finally:
            run("pg_ctl", "-D", store, "--mode=immediate", "stop")


@contextmanager
def mlflow_server(store: str, artifacts: Path, uri: str) -> Iterator[None]:
    """`mlflow server` with this store, as a platform engineer starts it, until the block ends."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--port", uri.rpartition(":")[2], "--backend-store-uri", store]
    command += ["--artifacts-destination", str(artifacts)]
    artifacts.mkdir(parents=True, exist_ok=True)
    with (artifacts / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=artifacts,
            env=local_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@contextmanager
def on_postgresql(project: Project, folder: Path) -> Iterator[None]:
    """The project's MLflow server, with its store in PostgreSQL."""
    with (
        database() as store,
        mlflow_server(store, folder / "artifacts", project.mlflow_uri),
    ):
        yield
