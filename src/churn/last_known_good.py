"""The versions that an API has served, kept on disk: it serves the last one where MLflow is away.

A version is one file, and `current` names the one that is served. Both are written beside their
place and then moved into it, so whoever reads finds a whole one, whenever the writer was killed.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from churn import files
from churn.errors import UserError
from churn.registry import Version

_KEPT = 3
_CURRENT = "current"
_SCORER, _SCHEMA, _VERSION = "scorer.onnx", "schema.json", "version.json"
_LARGEST = 1_000_000_000  # bytes of a file in it


class NotKept(UserError):
    """No version can be read from the folder."""


@dataclass(frozen=True)
class VersionFiles:
    """A version with the two files that serving needs, and the MLflow that logged it."""

    version: Version
    scorer: bytes
    schema: bytes
    mlflow_version: str


class LastKnownGood:
    """The folder of one API, which its workers share. Methods raise OSError if the disk fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, found: VersionFiles) -> None:
        """Write the version, also where a copy of it is there: one that could not be used."""
        path = self._path(found.version.run_id)
        described = {**asdict(found.version), "mlflow_version": found.mlflow_version}
        with files.replacing(path) as temporary, temporary.open("wb") as file:
            with zipfile.ZipFile(file, "w") as packed:
                packed.writestr(_SCORER, found.scorer)
                packed.writestr(_SCHEMA, found.schema)
                packed.writestr(_VERSION, json.dumps(described, indent=2))
            file.flush()
            os.fsync(file.fileno())

    def point(self, run_id: str) -> None:
        """Say that this version is the one that is served, and let the oldest ones go. One that is
        not here leaves what is said as it is: an older version is better than none."""
        os.utime(self._path(run_id))
        current = self._folder / _CURRENT
        if _text(current) != run_id:
            files.write_text(current, run_id + "\n")
        others = sorted(self._folder.glob("*.zip"), key=_age, reverse=True)
        for path in others[_KEPT:]:
            path.unlink(missing_ok=True)

    def find(self, run_id: str) -> VersionFiles | None:
        """The version of this run, if a whole one is here."""
        try:
            return self._read(run_id)
        except NotKept:
            return None

    def current(self) -> VersionFiles:
        """The version that was served last. Raises NotKept where there is none."""
        run_id = _text(self._folder / _CURRENT)
        if not run_id:
            raise NotKept("no version was served here before")
        return self._read(run_id)

    def _path(self, run_id: str) -> Path:
        if not run_id.isalnum():
            raise NotKept(f"{run_id[:40]!r} is no run")
        return self._folder / f"{run_id}.zip"

    def _read(self, run_id: str) -> VersionFiles:
        try:
            with zipfile.ZipFile(self._path(run_id)) as packed:
                if any(entry.file_size > _LARGEST for entry in packed.infolist()):
                    raise NotKept("the version that was served last is too large")
                described = json.loads(packed.read(_VERSION))
                return VersionFiles(
                    _version(described),
                    packed.read(_SCORER),
                    packed.read(_SCHEMA),
                    str(described["mlflow_version"]),
                )
        except FileNotFoundError:
            raise NotKept("the version that was served last is gone from the disk") from None
        except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError) as error:
            said = getattr(error, "strerror", None) or error  # without the path
            raise NotKept(f"the version that was served last cannot be read: {said}") from None


def _version(described: Mapping[str, Any]) -> Version:
    return Version(
        number=str(described["number"]),
        run_id=str(described["run_id"]),
        created=str(described["created"]),
        tags={str(key): str(value) for key, value in described["tags"].items()},
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
