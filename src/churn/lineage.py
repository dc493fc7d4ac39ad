"""What made a model: the commit, what differed from it, and the hashes of data and model."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from churn import paths

UNKNOWN = "unknown"

PATCH = "uncommitted.patch"
"""The file in a run that holds what differed from its commit."""

LEFT_OUT = "uncommitted_left_out"
"""The tag of a run that says why it has no such file although its tree was not clean."""

NOTHING_READ = "no file that training reads differs"

_LARGEST_PATCH = 1_000_000  # bytes

# What the pipeline itself rewrites does not make a tree unclean. (While a stage runs, DVC takes its
# outputs out of models/.gitignore.)
_ALL_BUT_OUTPUTS = (".", ":(exclude)dvc.lock", ":(exclude)models", ":(exclude)reports")

# The patch goes to the MLflow server, so it names what it may hold: no table, no notes, no keys.
_READ_BY_TRAINING = ("src", "params.yaml", "data/schema.yaml", "dvc.yaml")
_NEW_CODE = ("src/*.py", "src/*.html")


@dataclass(frozen=True)
class Uncommitted:
    """What differs from HEAD of the files that training reads, as `git apply` takes it; or why it
    is left out of the run."""

    patch: bytes = b""
    left_out: str = ""


def git_commit() -> str:
    """The full hash of HEAD, or `unknown` outside a git repository."""
    head = _git("rev-parse", "HEAD")
    return UNKNOWN if head is None else head.decode().strip()


def git_clean() -> str:
    """`true` if nothing that decides a model differs from HEAD, else `false`; or `unknown`."""
    status = _git("status", "--porcelain", "--", *_ALL_BUT_OUTPUTS)
    return UNKNOWN if status is None else str(status == b"").lower()


def md5(path: Path) -> str:
    """The file's MD5, as 32 hexadecimal digits: the name of the file in DVC's cache and remotes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def uncommitted() -> Uncommitted:
    """What `python src/reproduce.py` needs besides the commit. Nothing where the tree is clean."""
    if git_clean() != "false":
        return Uncommitted()
    patch = _difference()
    if patch is None:
        return Uncommitted(left_out="git has no commit to compare with")
    if not patch:
        return Uncommitted(left_out=NOTHING_READ)
    if len(patch) > _LARGEST_PATCH:
        size = (
            f"the patch has {len(patch):,} bytes, and {_LARGEST_PATCH:,} is the most that is kept"
        )
        return Uncommitted(left_out=size)
    return Uncommitted(patch)


def _difference() -> bytes | None:
    """The difference between HEAD and the working tree, new code included; None without a HEAD.

    git only compares files that its index knows, so a copy of the index gets to know the new ones.
    """
    index = _git("rev-parse", "--git-path", "index")
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *_NEW_CODE)
    if not index or new is None:
        return None
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "index"
        original = paths.ROOT / os.fsdecode(index).rstrip("\n")
        if original.exists():
            shutil.copyfile(original, copy)
        on_copy = {"GIT_INDEX_FILE": str(copy)}
        names = [os.fsdecode(name) for name in new.split(b"\0") if name]
        if names:
            _git("--literal-pathspecs", "add", "--intent-to-add", "--", *names, variables=on_copy)
        # None of it depends on what a person has set for reading differences.
        plain = ("--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv")
        prefixes = ("--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
        compared = ("HEAD", *plain, *prefixes, "--", *_READ_BY_TRAINING)
        return _git("diff", *compared, variables=on_copy)


def _git(*arguments: str, variables: Mapping[str, str] | None = None) -> bytes | None:
    """What git prints, or None where it is not there or declines."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=paths.ROOT,
            env={**os.environ, **(variables or {})},
            capture_output=True,
            check=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout
