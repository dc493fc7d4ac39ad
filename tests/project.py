"""A copy of this project to work in, as a user has it: a git checkout in a folder with a space."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def local_environment(**variables: str) -> dict[str, str]:
    """This process's environment, in which `python` and `dvc` are those that run the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept | variables


@dataclass(frozen=True)
class Project:
    """A checkout with its own MLflow address; commands run in it as a user would type them."""

    root: Path
    mlflow_uri: str

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command and return it with its output, whatever its exit code."""
        environment = local_environment(**{"MLFLOW_TRACKING_URI": self.mlflow_uri} | variables)
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )

    def do(self, *command: str, **variables: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        done = self.run(*command, **variables)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def refused(self, *command: str, code: int = 1, **variables: str) -> str:
        """Run a command that must fail with one line, and return the line."""
        done = self.run(*command, **variables)
        assert done.returncode == code, f"{command}: {done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, done.stderr
        return lines[0].removeprefix("error: ")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that the file must hold."""
        path = self.root / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))


def servers(project: Project) -> list[psutil.Process]:
    """The processes that run in the project's mlflow folder."""
    folder = str(project.root / "mlflow")
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == folder:
                found.append(process)
        except psutil.Error:
            continue
    return found


def checkout(folder: Path) -> Project:
    """Copy what git would check out of this project, as its working tree is now, and commit it."""
    root = folder / "a checkout"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    project = Project(root, f"http://127.0.0.1:{free_port()}")
    project.do("git", "init", "-q")
    project.do("git", "config", "user.name", "test")
    project.do("git", "config", "user.email", "test@example.invalid")
    project.do("git", "add", "-A")
    project.do("git", "commit", "-qm", "checkout")
    return project
