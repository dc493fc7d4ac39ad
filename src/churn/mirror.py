"""registry/: a copy of the registry's state for people and scripts. Nothing decides from it."""

from typing import Any

from churn import files, paths
from churn.registry import EXPERIMENT, MODEL, PRODUCTION, Registry, Tag, Version

_METADATA = paths.REGISTRY / "metadata.json"
_CURRENT = paths.REGISTRY / "current_model.txt"

# The run in MLflow has a hundred more: intervals, deciles, segments.
_SCORES = ("f1", "accuracy", "precision", "recall", "roc_auc", "log_loss", "brier")


def write(registry: Registry) -> None:
    """Rewrite registry/metadata.json and registry/current_model.txt from MLflow, each at once."""
    versions = registry.versions()
    metrics = _metrics_by_run(registry)
    files.write_json(_METADATA, [_entry(v, metrics.get(v.run_id, {})) for v in versions])
    current = [version.number for version in versions if PRODUCTION in version.aliases]
    if current:
        files.write_text(_CURRENT, f"{MODEL}/{current[0]}\n")
    else:
        _CURRENT.unlink(missing_ok=True)


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


def _metrics_by_run(registry: Registry) -> dict[str, dict[str, float]]:
    experiment = registry.experiment_id(EXPERIMENT)
    if experiment is None:
        return {}
    runs = registry.mlflow.pages(
        "runs/search", "runs", experiment_ids=[experiment], max_results=1000
    )
    return {
        run["info"]["run_id"]: {
            metric["key"]: metric["value"]
            for metric in run["data"].get("metrics", [])
            if metric["key"] in _SCORES
        }
        for run in runs
    }
