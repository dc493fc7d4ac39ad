"""registry/: a copy of the registry's state for people and scripts. Nothing decides from it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from churn import cli, files, paths
from churn.errors import UserError
from churn.registry import MODEL, PRODUCTION, Registry, Tag, Version

_METADATA = paths.REGISTRY / "metadata.json"
_CURRENT = paths.REGISTRY / "current_model.txt"


def write(registry: Registry) -> None:
    """Rewrite registry/metadata.json and registry/current_model.txt from MLflow."""
    with _locked():
        _write(_all(registry))


def follow(registry: Registry) -> None:
    """Bring the aliases in registry/ up to date, after one has moved.

    The move has happened, so whatever is wrong with these files is a warning.
    """
    try:
        with _locked():
            entries = _read()
            aliases = registry.aliases()
            if not set(aliases.values()) <= {entry["version"] for entry in entries}:
                entries = _all(registry)
            for entry in entries:
                entry["aliases"] = sorted(a for a, to in aliases.items() if to == entry["version"])
            _write(entries)
    except (OSError, UserError) as error:
        cli.warn(f"registry/ is behind ({error}); `python src/status.py --sync` brings it up")


def behind(registry: Registry) -> str:
    """In what registry/ differs from MLflow, in words that follow its name; empty if in nothing."""
    written = {entry["version"]: entry["aliases"] for entry in _read()}
    there = {version.number: list(version.aliases) for version in registry.versions()}
    if written != there:
        return f"knows versions and aliases {_shown(written)} where MLflow has {_shown(there)}"
    current = _CURRENT.read_text(encoding="utf-8").strip() if _CURRENT.exists() else ""
    wanted = [f"{MODEL}/{number}" for number, aliases in there.items() if PRODUCTION in aliases]
    at = wanted[0] if wanted else ""
    if current != at:
        return f"says production is {current or 'nothing'} where MLflow has {at or 'nothing'}"
    return ""


def _shown(versions: dict[str, list[str]]) -> str:
    newest = list(versions.items())[:5]
    return ", ".join(f"{number} ({' '.join(aliases) or '-'})" for number, aliases in newest) or "-"


def _write(entries: list[dict[str, Any]]) -> None:
    """Both files, each in one step; called under the lock."""
    files.sweep(_METADATA)
    files.sweep(_CURRENT)
    files.write_json(_METADATA, entries)
    current = [entry["version"] for entry in entries if PRODUCTION in entry["aliases"]]
    if current:
        files.write_text(_CURRENT, f"{MODEL}/{current[0]}\n")
    else:
        _CURRENT.unlink(missing_ok=True)


def _read() -> list[dict[str, Any]]:
    """The entries as they are written; none where the file is missing or not ours."""
    try:
        entries = json.loads(_METADATA.read_text(encoding="utf-8"))
        return [entry for entry in entries if entry["version"] and "aliases" in entry]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


@contextmanager
def _locked() -> Iterator[None]:
    """One process at a time asks MLflow and writes what it said, so that the last to write knows
    the latest; the lock ends with its process."""
    paths.REGISTRY.mkdir(exist_ok=True)
    folder = os.open(paths.REGISTRY, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _all(registry: Registry) -> list[dict[str, Any]]:
    versions = registry.versions()
    metrics = registry.metrics([version.run_id for version in versions])
    return [_entry(version, metrics.get(version.run_id, {})) for version in versions]


def _entry(version: Version, metrics: dict[str, float]) -> dict[str, Any]:
    return {
        "version": version.number,
        "run_id": version.run_id,
        "created": version.created,
        "metrics": metrics,
        "gate": version.gate or None,
        "gate_reason": version.tags.get(Tag.GATE_REASON),
        "git_commit": version.tags.get(Tag.GIT_COMMIT),
        "data_hash": version.tags.get(Tag.RAW_SHA256),
        "model_hash": version.tags.get(Tag.MODEL_SHA256),
        "aliases": list(version.aliases),
    }
