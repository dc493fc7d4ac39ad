"""The journal of a training: what it is, on disk before MLflow hears of it, so that a training that
was interrupted becomes one version, and no run stays unfinished.

Its entry is open until the training stands in models/ and, where DVC runs the stage, in dvc.lock:
when `dvc repro` is killed in between, the next one asks for the same training again.
"""

import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import joblib
from pydantic import BaseModel, ValidationError

from churn import files, lineage, paths, skopsfile, snapshot
from churn.registry import Version

_FOLDER = paths.MODEL.parent / ".training"
_ENTRY = _FOLDER / "journal.json"
_MODEL, _SKOPS = (_FOLDER / path.name for path in (paths.MODEL, paths.MODEL_SKOPS))


class Entry(BaseModel):
    """A training: its id, which its run in MLflow has as a tag; the hash of what it is made from;
    the tags that its version gets; and what models/training.json says of the choice."""

    id: str
    inputs: str
    tags: dict[str, str]
    choice: dict[str, Any]


def begin() -> None:
    """Make room for a training. The entry of the one before it is gone."""
    close()
    _FOLDER.mkdir(parents=True)


def export(fitted: Any) -> Path:
    """Write the training's model until it is taken up, and for the next stage in the skops format;
    the path of the former."""
    with files.naming(_MODEL):
        joblib.dump(fitted, _MODEL)
    with files.naming(_SKOPS):
        skopsfile.write(fitted, _SKOPS)
    return _MODEL


def write(inputs: str, tags: dict[str, str], choice: dict[str, Any]) -> Entry:
    """Open the entry of the training whose model is exported."""
    entry = Entry(id=uuid.uuid4().hex, inputs=inputs, tags=tags, choice=choice)
    files.write_json(_ENTRY, entry.model_dump())
    return entry


def read() -> Entry | None:
    """The training whose entry is open; None where there is none."""
    try:
        return Entry.model_validate_json(_ENTRY.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def is_recorded(entry: Entry) -> bool:
    """Whether dvc.lock holds the training: asked for again, it is another one."""
    try:
        standing = json.loads(paths.TRAINING.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    locked = snapshot.locked_md5(paths.ROOT / "dvc.lock", paths.TRAINING)
    return standing.get("id") == entry.id and locked == lineage.md5(paths.TRAINING)


def close_recorded() -> None:
    """Close the entry if dvc.lock holds its training."""
    entry = read()
    if entry and is_recorded(entry):
        close()


def take_up(entry: Entry, version: Version) -> None:
    """Put the training, which became this version, into models/."""
    for kept, place in ((_MODEL, paths.MODEL), (_SKOPS, paths.MODEL_SKOPS)):
        with files.replacing(place) as temporary:
            shutil.copyfile(kept, temporary)
    training = {"version": version.number, "run_id": version.run_id, "id": entry.id}
    files.write_json(paths.TRAINING, training | {"choice": entry.choice})


def close() -> None:
    """Close the entry: its training stands where it belongs, or is given up."""
    # The entry first: without it, what else is in the folder means nothing.
    _ENTRY.unlink(missing_ok=True)
    if _FOLDER.exists():
        shutil.rmtree(_FOLDER)


def inputs() -> str:
    """The SHA-256 of all that a training is made from: data, schema, parameters and code."""
    code = sorted((paths.ROOT / "src").rglob("*.py"))
    digest = hashlib.sha256()
    for path in (paths.RAW, paths.PROCESSED, paths.SCHEMA, paths.PARAMS, *code):
        digest.update(f"{paths.shown(path)} {files.sha256(path)}\n".encode())
    return digest.hexdigest()
