"""Where each file of the project lies. Absolute, so that a command may be called from anywhere."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PARAMS = ROOT / "params.yaml"
SCHEMA = ROOT / "data" / "schema.yaml"
RAW = ROOT / "data" / "raw.csv"
PROCESSED = ROOT / "data" / "processed.csv"
MODEL = ROOT / "models" / "model.joblib"
MODEL_SKOPS = ROOT / "models" / "model.skops"
TRAINING = ROOT / "models" / "training.json"
METRICS = ROOT / "reports" / "metrics.json"
PLOTS = ROOT / "reports" / "plots"
MODEL_CARD = ROOT / "reports" / "model_card.html"
REGISTRY = ROOT / "registry"
MLFLOW = ROOT / "mlflow"


OFF = "off"


def folder(told: str) -> Path | None:
    """The folder that a setting names, from the checkout; None where it is `off`."""
    return None if told == OFF else ROOT / told


def shown(path: Path) -> str:
    """The path as a person would type it: relative to the project where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
