"""The raw data that a version was trained on, from wherever it is to be had."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from churn import dvc, files, paths
from churn.dvc import DvcFailed
from churn.errors import UserError

_SECONDS = 1800


class SnapshotMissing(UserError):
    """The raw data of a version is nowhere to be had."""


Fetch = Callable[[Path], str]
"""Puts a file at the path and returns an empty text, or says why it cannot."""


def bring(sha256: str, md5: str, place: Path) -> str:
    """Put the snapshot with these hashes at `place`, and return where it came from: DVC's cache,
    this checkout's data/raw.csv or a DVC remote. `md5` may be empty where it is not known.

    Raises SnapshotMissing, naming what was tried.
    """
    tried = []
    place.parent.mkdir(parents=True, exist_ok=True)
    for source, fetch in _sources(md5):
        said = fetch(place)
        if not said and files.sha256(place) == sha256:
            return source
        place.unlink(missing_ok=True)
        tried.append(f"{source} {said or 'holds another file'}")
    raise SnapshotMissing(
        f"its data are missing (SHA-256 {sha256}, MD5 {md5 or 'unknown'}): {'; '.join(tried)}"
    )


def locked_md5(lock: Path, output: Path = paths.RAW) -> str:
    """The MD5 of a stage's output in a dvc.lock; empty where it names none."""
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return ""
    return next((str(out["md5"]) for out in outs if out.get("path") == paths.shown(output)), "")


_RAW = paths.shown(paths.RAW)


def _sources(md5: str) -> Iterator[tuple[str, Fetch]]:
    """The places to look in, the nearest first; DVC is asked about one only when it is its turn."""
    if md5:
        yield "DVC's cache", _copy(dvc.cache() / dvc.name(md5))
    yield f"{_RAW} of this checkout", _copy(paths.RAW)
    if not md5:
        return
    remotes = dvc.remotes()
    for remote in remotes:
        yield f"DVC's remote {remote}", _download(remote, md5)
    if not remotes:
        yield "a DVC remote", lambda place: "is not set"


def _copy(source: Path) -> Fetch:
    def fetch(place: Path) -> str:
        if not source.is_file():
            return "does not have it"
        shutil.copyfile(source, place)
        return ""

    return fetch


def _download(remote: str, md5: str) -> Fetch:
    """By its name: `dvc pull` gets only what a dvc.lock or .dvc file of this checkout names."""

    def fetch(place: Path) -> str:
        file = f"remote://{remote}/{dvc.name(md5)}"
        try:
            dvc.ask("get-url", "--force", file, str(place), seconds=_SECONDS)
        except DvcFailed as error:
            return "does not have it" if "does not exist" in str(error) else f"fails: {error}"
        return ""

    return fetch
