"""A commit checked out in a temporary folder of its own, and what runs there."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from churn import lineage, paths
from churn.errors import UserError

_PREFIX, _KEPT_PREFIX = "churn-reproduce-", "churn-kept-"


class WorktreeError(UserError):
    """The commit cannot be checked out, or a command failed there."""


@dataclass(frozen=True)
class Worktree:
    """The repository at `top`, in which the project lies at `root`, mostly the same."""

    top: Path
    root: Path

    def apply(self, patch: bytes) -> None:
        """Apply a patch as lineage.py records it. Raises WorktreeError."""
        done = _git("apply", "--whitespace=nowarn", folder=self.top, given=patch)
        if done.returncode:
            raise WorktreeError(f"{lineage.PATCH} does not fit the commit: {_last_line(done)}")

    def run(self, command: str, mlflow_uri: str) -> None:
        """Run a command as DVC does, by the shell, with this Python and that MLflow server.

        Raises WorktreeError with the last that it said.
        """
        # What the commit runs has no business with the real registry, nor with the source.
        dropped = ("MLFLOW_", "DATA_", "GIT_")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(dropped)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.root,
            env={**kept, "PATH": path, "MLFLOW_TRACKING_URI": mlflow_uri},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            said = _last_line(done).removeprefix("error: ")
            raise WorktreeError(f"`{command}` of the commit failed: {said}")


def touched(patch: bytes) -> list[str]:
    """The files that a patch changes, in git's spelling."""
    done = _git("apply", "--numstat", given=patch)
    lines = done.stdout.decode(errors="replace").splitlines()
    return [line.split("\t")[2] for line in lines if line.count("\t") == 2]


@contextmanager
def checked_out(commit: str, keep: bool = False) -> Iterator[Worktree]:
    """The commit in a folder of its own. In the end, however it comes, all that runs in the folder
    is ended and the folder is removed, unless it is to be kept.

    Raises WorktreeError where git does not know the commit.
    """
    if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise WorktreeError(f"this repository has no commit {commit}: `git fetch --all` may get it")
    _remove_abandoned()
    # Where a folder of temporary files is a link, a process says the place that it leads to.
    prefix = _KEPT_PREFIX if keep else _PREFIX
    top = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    inside = os.fsdecode(_git("rev-parse", "--show-prefix").stdout).rstrip("\n")
    with _ended_by_signals(), _held(top):
        try:
            # A hook such as DVC's would check out data that nobody asked for.
            hooks = f"core.hooksPath={os.devnull}"
            done = _git("-c", hooks, "worktree", "add", "--quiet", "--detach", str(top), commit)
            if done.returncode:
                raise WorktreeError(f"git cannot check out {commit}: {_last_line(done)}")
            yield Worktree(top, top / inside)
        finally:
            # A second Ctrl-C would leave behind what the first one is clearing away.
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            _end_processes(top)
            if not keep:
                _remove(top)
            signal.signal(signal.SIGINT, before)


def _remove(top: Path) -> None:
    if _git("worktree", "remove", "--force", "--force", str(top)).returncode:
        shutil.rmtree(top, ignore_errors=True)
        _git("worktree", "prune")


def _remove_abandoned() -> None:
    """Remove what a killed process left: a lock ends with the process that holds it."""
    listed = os.fsdecode(_git("worktree", "list", "--porcelain").stdout).splitlines()
    for line in listed:
        top = Path(line.removeprefix("worktree "))
        if line.startswith("worktree ") and top.name.startswith(_PREFIX) and top.is_dir():
            with suppress(BlockingIOError), _held(top):
                _end_processes(top)
                _remove(top)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """A lock on the folder. Raises BlockingIOError where another process holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A polite request to end clears away as Ctrl-C does."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_processes(folder: Path) -> None:
    """End what runs in the folder: a stage that was interrupted, and the MLflow server."""
    found = [process for process in psutil.process_iter() if _runs_in(process, folder)]
    for process in found:
        with suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(found, timeout=10)[1]:
        with suppress(psutil.Error):
            process.kill()


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except (psutil.Error, OSError):
        return False


def _git(
    *arguments: str, folder: Path = paths.ROOT, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, input=given, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise WorktreeError("git is not installed") from None


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """The error that a command ended with, or else the last line that it printed."""
    lines = (done.stdout + b"\n" + done.stderr).decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()] or [f"exit code {done.returncode}"]
    errors = [line for line in said if line.startswith("error: ")]
    return (errors or said)[-1]
