"""What made a model: the commit, whether the tree was clean, and the hashes of data and model."""

import subprocess

from churn import paths

UNKNOWN = "unknown"

# What the pipeline itself rewrites does not make a tree unclean. (While a stage runs, DVC takes its
# outputs out of models/.gitignore.)
_ALL_BUT_OUTPUTS = (".", ":(exclude)dvc.lock", ":(exclude)models", ":(exclude)reports")


def git_commit() -> str:
    """The full hash of HEAD, or `unknown` outside a git repository."""
    return _git("rev-parse", "HEAD") or UNKNOWN


def git_clean() -> str:
    """`true` if nothing that decides a model differs from HEAD, else `false`; or `unknown`."""
    status = _git("status", "--porcelain", "--", *_ALL_BUT_OUTPUTS)
    return UNKNOWN if status is None else str(status == "").lower()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
