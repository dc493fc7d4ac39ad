"""The fitted model as a file that nobody has to trust: skops, of listed types, never unpickled.

The exported models/model.joblib is for users. It is a pickle, which executes what it holds, so
nothing here reads it: what the project loads is models/model.skops, or the skops file of a version.
Types are checked, not numbers: a forged tree can still answer nonsense, or end the process.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import yaml
from sklearn.model_selection import FixedThresholdClassifier

from churn import paths
from churn.errors import UserError
from churn.model import TRUSTED_TYPES
from churn.registry import MODEL, Registry

# Every type that a model of this project is made of. skops by itself would allow any estimator of
# scikit-learn, and what is needed of TRUSTED_TYPES.
TYPES = frozenset(TRUSTED_TYPES) | {
    *(f"builtins.{name}" for name in ("dict", "list", "slice", "str", "tuple")),
    *(f"numpy.{name}" for name in ("bool", "float32", "float64", "int32", "int64", "ndarray")),
    *(f"numpy.{name}" for name in ("uint8", "uint32", "uint64", "random._generator.Generator")),
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
    "sklearn.feature_selection._variance_threshold.VarianceThreshold",
    "sklearn.impute._base.MissingIndicator",
    "sklearn.impute._base.SimpleImputer",
    "sklearn.isotonic.IsotonicRegression",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.model_selection._classification_threshold.FixedThresholdClassifier",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._encoders.OneHotEncoder",
    "sklearn.preprocessing._label.LabelEncoder",
    "sklearn.preprocessing._target_encoder.TargetEncoder",
    "sklearn.tree._classes.DecisionTreeClassifier",
}

_SCHEMA = "schema.json"
_SHOWN = 5
# What skops and scikit-learn raise where a file of the right types does not hang together.
_BROKEN = (
    *(AttributeError, BadZipFile, EOFError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)


class NotLoaded(UserError):
    """A model that holds what the project does not list, or that is broken. Nothing of it ran."""


def write(model: FixedThresholdClassifier, path: Path) -> None:
    """Write the model so that `read` takes it. Raises NotLoaded where it would not."""
    import skops.io  # takes 1.5 s

    skops.io.dump(model, path)
    _check(path, "the trained model")


def read(path: Path, name: str = "") -> FixedThresholdClassifier:
    """The model of a skops file; `name` is what messages call it.

    Raises NotLoaded, before anything of the file is made into an object, where it is a pickle or
    holds a type that is not in TYPES.
    """
    name = name or paths.shown(path)
    _check(path, name)
    import skops.io

    try:
        model = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    except _BROKEN as error:
        raise NotLoaded(f"{name} is not loaded: it is broken ({error})") from None
    if not isinstance(model, FixedThresholdClassifier):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise NotLoaded(f"{name} is not loaded: it is a {kind}, not a FixedThresholdClassifier")
    return model


def of_version(registry: Registry, number: str) -> FixedThresholdClassifier:
    """The model of a registered version, fetched from MLflow:

        registry = Registry(server.connect(read_environment()))
        model = skopsfile.of_version(registry, "3")

    mlflow.sklearn.load_model() would unpickle what was logged as a pickle, and of a skops file it
    takes the list of trusted types from the model itself. Raises NotLoaded as `read` does.
    """
    name, root = f"{MODEL} version {number}", registry.artifact_uri(number)
    try:
        flavor = yaml.safe_load(registry.mlflow.get_artifact(f"{root}/MLmodel"))["flavors"][
            "sklearn"
        ]
        # MLflow itself takes a model that does not say for a pickle.
        written_as = flavor.get("serialization_format", "pickle")
    except (yaml.YAMLError, *_BROKEN):
        raise NotLoaded(f"{name} is not loaded: it is no scikit-learn model") from None
    if written_as != "skops":
        raise NotLoaded(
            f"{name} is not loaded: it is a pickle ({written_as}), which executes what it holds"
        )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        path.write_bytes(registry.mlflow.get_artifact(f"{root}/{path.name}"))
        return read(path, name)


def _check(path: Path, name: str) -> None:
    """Raises NotLoaded where the file is no skops file of TYPES alone. Makes no object of it."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
        with ZipFile(path) as archive:
            # skops does not compress, so a small file that unpacks to a huge one is not its work.
            packed = any(entry.compress_type != ZIP_STORED for entry in archive.infolist())
            size = sum(entry.file_size for entry in archive.infolist())
            if packed or size > path.stat().st_size:
                raise NotLoaded(f"{name} is not loaded: it would unpack to more than its size")
            foreign = sorted(_types(json.loads(archive.read(_SCHEMA))) - TYPES)
    except FileNotFoundError:
        raise UserError(f"{name} is missing; `dvc repro train` makes it") from None
    except _BROKEN:
        what = "a pickle, which executes what it holds" if start[:1] == b"\x80" else "no skops file"
        raise NotLoaded(f"{name} is not loaded: it is {what}") from None
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise NotLoaded(
            f"{name} is not loaded: it holds {', '.join(foreign[:_SHOWN])}{more}, which the project"
            " does not list (src/churn/skopsfile.py)"
        )


def _types(schema: Any) -> set[str]:
    """The full name of every type and function that skops' description of the object mentions."""
    found, ahead = set(), [schema]
    while ahead:
        node = ahead.pop()
        if isinstance(node, dict):
            if "__class__" in node or "__module__" in node:
                found.add(f"{node.get('__module__')}.{node.get('__class__')}")
            ahead += node.values()
        elif isinstance(node, list):
            ahead += node
    return found
