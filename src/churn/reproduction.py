"""What a version left when it was trained, and in what a version that was built again differs."""

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from churn import lineage, split
from churn.errors import Unreachable, UserError
from churn.registry import Registry, Tag, Version
from churn.rest import NotFound
from churn.schema import SPLIT, ModelSchema
from churn.scorer import Scorer
from churn.served import Served

_SHOWN = 4


@dataclass(frozen=True)
class Original:
    """What MLflow knows about a version: its metrics, the patch of what was not committed, or why
    there is none though there should be, and the packages that made it."""

    metrics: dict[str, float]
    patch: bytes
    unrecorded: str
    packages: dict[str, str]


def original(registry: Registry, version: Version) -> Original:
    """Raises UserError where the version's run is gone."""
    run = _run(registry, version)
    tags = {entry["key"]: entry["value"] for entry in run["data"].get("tags", [])}
    patch = _file(registry, f"{run['info']['artifact_uri']}/{lineage.PATCH}")
    unrecorded = ""
    if version.tags.get(Tag.GIT_CLEAN) != "true" and not patch:
        unrecorded = tags.get(lineage.LEFT_OUT, "training recorded nothing about them")
    return Original(
        _metrics(run),
        patch,
        "" if unrecorded == lineage.NOTHING_READ else unrecorded,
        _packages(registry, version),
    )


def _run(registry: Registry, version: Version) -> dict[str, Any]:
    try:
        run: dict[str, Any] = registry.mlflow.get("runs/get", run_id=version.run_id)["run"]
    except NotFound:
        raise UserError(f"its run {version.run_id} is missing in MLflow") from None
    return run


def _metrics(run: dict[str, Any]) -> dict[str, float]:
    """The run's metrics but those of the machine that it ran on."""
    entries = run["data"].get("metrics", [])
    return {e["key"]: e["value"] for e in entries if not e["key"].startswith("system/")}


def _packages(registry: Registry, version: Version) -> dict[str, str]:
    """The packages, and Python, that the model was made with, by name."""
    uri = registry.artifact_uri(version.number)
    requirements = _file(registry, f"{uri}/requirements.txt").decode(errors="replace")
    pinned = (line.partition("==") for line in requirements.splitlines() if "==" in line)
    found = {name.strip(): number.strip() for name, _, number in pinned}
    try:
        python = yaml.safe_load(_file(registry, f"{uri}/python_env.yaml"))
    except yaml.YAMLError:
        python = None
    if isinstance(python, dict) and "python" in python:
        found["Python"] = str(python["python"])
    return found


def _file(registry: Registry, artifact_uri: str) -> bytes:
    try:
        return registry.mlflow.get_artifact(artifact_uri)
    except NotFound:
        return b""


def other_packages(recorded: dict[str, str]) -> str:
    """Those packages that are installed in another version than recorded; empty where none is."""
    found = []
    for name, then in sorted(recorded.items()):
        now = _installed(name)
        if now != then:
            found.append(f"{name} {then} (here {now})")
    return ", ".join(found)


def _installed(name: str) -> str:
    if name == "Python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def compare_metrics(
    recorded: dict[str, float], evaluated: bool, registry: Registry, rebuilt: Version
) -> tuple[str, str]:
    """How the metrics compare, and in what they differ (empty where in nothing).

    Both come from MLflow, cross-validation's too. A float survives its database and JSON exactly.
    """
    again = _metrics(_run(registry, rebuilt))
    names = sorted(recorded.keys() | again.keys() if evaluated else recorded.keys())
    differing = [name for name in names if recorded.get(name) != again.get(name)]
    told = f"{len(names) - len(differing)} of {len(names)} metrics equal"
    wrong = [] if evaluated else ["it was never evaluated, so there is no metric of its test split"]
    if differing:
        shown = [
            f"{name} {_value(recorded, name)} is {_value(again, name)} here" for name in differing
        ]
        more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        listed = ", ".join(shown[:_SHOWN])
        wrong.append(f"{len(differing)} of {len(names)} metrics differ: {listed}{more}")
    return told, "; ".join(wrong)


def _value(metrics: dict[str, float], name: str) -> str:
    return repr(metrics[name]) if name in metrics else "missing"


def compare_models(
    registry: Registry, version: Version, other: Registry, rebuilt: Version, processed: Path
) -> tuple[str, str]:
    """How the two models answer the test split, and in what they differ (empty where in nothing).

    Both are downloaded and loaded as the API does it.
    """
    loaded = []
    for whose, where, which in (("registered", registry, version), ("rebuilt", other, rebuilt)):
        try:
            loaded.append(Served.load(where, which).scorer)
        except Unreachable:
            raise
        except UserError as error:
            return "", f"the {whose} model cannot be loaded: {error}"
    ours, theirs = loaded
    unlike = _unlike(ours.schema, theirs.schema)
    wrong = [f"the model's schema differs in {unlike}"] if unlike else []
    rows = pl.read_csv(processed, infer_schema=False).filter(pl.col(SPLIT) == split.TEST)
    lost = [name for name in ours.schema.features if name not in rows.columns]
    if lost:
        return "", "; ".join(
            [*wrong, f"no column {', '.join(lost)}, which the registered one asks"]
        )
    differences = np.abs(_answers(ours, rows) - _answers(theirs, rows))
    different = int(np.count_nonzero(differences))
    told = f"probabilities of {rows.height - different:,} of {rows.height:,} test rows equal"
    if different:
        wrong.append(
            f"the probabilities of {different:,} of {rows.height:,} test rows differ,"
            f" by {differences.max():.3g} at most"
        )
    return told, "; ".join(wrong)


def _unlike(ours: ModelSchema, theirs: ModelSchema) -> str:
    """The parts of the schema that differ, with both values where they are short."""
    left, right = ours.model_dump(), theirs.model_dump()
    return ", ".join(
        f"{name} ({left[name]!r}, here {right[name]!r})"
        if isinstance(left[name], str | float)
        else name
        for name in left
        if left[name] != right[name]
    )


def _answers(scorer: Scorer, rows: pl.DataFrame) -> NDArray[np.float64]:
    return scorer.probabilities(scorer.encode_frame(rows.select(scorer.schema.features)))
