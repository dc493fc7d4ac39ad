"""DVC's command line in this checkout, and where it keeps a file of data.

With the standard library alone: doctor.py must run where packages are missing.
"""

import os
import subprocess
import sys
from pathlib import Path

from churn import paths
from churn.errors import UserError


class DvcFailed(UserError):
    """DVC did not do what it was asked."""


def runs_this() -> bool:
    """Whether this process is a stage that DVC has started."""
    return "DVC_STAGE" in os.environ


def ask(*arguments: str, seconds: int = 60) -> str:
    """What `dvc …` prints. Raises DvcFailed where it fails or does not end in time."""
    # The one that is installed here: without an activated .venv there is no `dvc` on PATH.
    command = [sys.executable, "-m", "dvc", *arguments]
    shown = f"`dvc {' '.join(arguments)}`"
    try:
        done = subprocess.run(
            command, cwd=paths.ROOT, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise DvcFailed(f"{shown} did not end in {seconds} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing"]
        raise DvcFailed(f"{shown} failed, saying: {said[-1].removeprefix('ERROR: ')}")
    return done.stdout


def cache() -> Path:
    """The folder where DVC keeps data: in the project, or where its configuration says."""
    return paths.ROOT / (ask("cache", "dir").strip() or ".dvc/cache")


def remotes() -> list[str]:
    """The names of the remotes that are set."""
    return [line.split()[0] for line in ask("remote", "list").splitlines() if line.strip()]


def name(md5: str) -> str:
    """Where DVC 3 puts a file with this MD5, in a cache or remote."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"
