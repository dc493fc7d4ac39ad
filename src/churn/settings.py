"""What a person sets: params.yaml (what changes a model) and the environment (what changes a
deployment). Both are read here and nowhere else, and checked before any work starts."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from churn import paths
from churn.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


class SettingsError(UserError):
    """A setting that is missing, misspelt or not allowed."""


class Section(BaseModel):
    """One mapping of params.yaml: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


def _none_if_empty(value: Any) -> Any:
    return None if value in ("", "null", "~") else value


def _listed(value: Any) -> Any:
    return [] if value in ("", "null", "~") else value


Name = Annotated[str, Field(min_length=1, max_length=200)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Data(Section):
    source: str = Field(min_length=1)
    target: Name
    positive: Name
    drop: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()
    id: Annotated[Name | None, BeforeValidator(_none_if_empty)] = None


class Split(Section):
    test_size: float = Field(gt=0, lt=1)
    salt: str = ""


class LogisticRegression(Section):
    C: float = Field(gt=0, allow_inf_nan=False)
    max_iter: int = Field(ge=1)


class HistGradientBoosting(Section):
    learning_rate: float = Field(gt=0, le=1)
    max_iter: int = Field(ge=1)
    max_leaf_nodes: int = Field(ge=2)
    min_samples_leaf: int = Field(ge=1)
    l2_regularization: float = Field(ge=0, allow_inf_nan=False)


class RandomForest(Section):
    n_estimators: int = Field(ge=1)
    min_samples_leaf: int = Field(ge=1)
    max_depth: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_none_if_empty)] = None


ESTIMATORS = ("logistic_regression", "hist_gradient_boosting", "random_forest")
"""The estimators by the names that params.yaml gives them, the simpler one first."""

AUTO = "auto"


class Train(Section):
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    seed: Seed
    model: Literal["auto", "logistic_regression", "hist_gradient_boosting", "random_forest"]
    choose_by: Literal["log_loss", "brier", "roc_auc"] = "log_loss"
    calibration: Literal["auto", "none", "sigmoid", "isotonic"] = "auto"
    logistic_regression: LogisticRegression
    hist_gradient_boosting: HistGradientBoosting
    random_forest: RandomForest

    def hyperparameters(self, estimator: str) -> dict[str, Any]:
        """The parameters of the estimator with this name, as scikit-learn calls them."""
        section: Section = getattr(self, estimator)
        return section.model_dump()


class Evaluate(Section):
    gate_f1: float = Field(ge=0, le=1)
    cost_false_negative: float = Field(1.0, ge=0, allow_inf_nan=False)
    cost_false_positive: float = Field(1.0, ge=0, allow_inf_nan=False)
    segments: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()


class Params(Section):
    """params.yaml, whole."""

    data: Data
    split: Split
    train: Train
    evaluate: Evaluate


def read_params(path: Path = paths.PARAMS) -> Params:
    """Read and check params.yaml.

    Raises SettingsError, naming each key that is wrong, its value and what is allowed.
    """
    return validated(Params, read_yaml(path), paths.shown(path))


def read_yaml(path: Path) -> Any:
    """The file's content with every scalar as the text that stands there.

    YAML 1.1 turns an unquoted Yes or NO into a boolean, 012 into ten and NA-like words into what
    a library pleases. Here the models that take the values give them their types.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
    except FileNotFoundError:
        raise SettingsError(
            f"{paths.shown(path)} is missing; `git checkout {paths.shown(path)}` brings it back"
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{paths.shown(path)} is not UTF-8: {error.reason}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{paths.shown(path)} is not valid YAML: {error}") from None


def validated(model: type[Model], values: Any, where: str) -> Model:
    """`values` as a `model`, or a SettingsError with one clause for each thing that is wrong."""
    if not isinstance(values, dict):
        raise SettingsError(f"{where} must hold a mapping of keys, not {values!r}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        clauses = [_clause(detail, model) for detail in error.errors()]
        raise SettingsError(f"{where}: {'; '.join(clauses)}") from None


def _clause(detail: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"{key} is missing"
    if detail["type"] == "extra_forbidden":
        return f"{key} is not a known key{_suggestion(detail['loc'], model)}"
    said = detail["msg"].removeprefix("Value error, ")
    said = said[0].lower() + said[1:]
    # An address may hold a password.
    value = re.sub(r"//[^/@]*@", "//…@", repr(detail["input"]))
    return f"{key} = {value}: {said}"


def _suggestion(location: tuple[Any, ...], model: type[BaseModel]) -> str:
    known: list[str] = list(model.model_fields)
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None:  # the name of an entry, such as a column's, in a mapping of models
            continue
        inner = [field.annotation, *get_args(field.annotation)]
        models = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not models:
            return ""
        model = models[0]
        known = list(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known)})"


class Environment(BaseModel):
    """The environment variables that change a deployment, with their defaults."""

    model_config = ConfigDict(frozen=True)

    MLFLOW_TRACKING_URI: str = "http://127.0.0.1:5000"
    MLFLOW_TRACKING_USERNAME: str = ""
    MLFLOW_TRACKING_PASSWORD: str = Field("", repr=False)
    MLFLOW_TRACKING_TOKEN: str = Field("", repr=False)
    HOST: str = "127.0.0.1"
    PORT: int = Field(8000, ge=1, le=65535)
    DATA_DATABASE_URL: str = Field("", repr=False)
    RELOAD_SECONDS: float = Field(1.0, ge=0.1, le=3600)

    @field_validator("MLFLOW_TRACKING_URI")
    @classmethod
    def _http(cls, uri: str) -> str:
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("use the address of an MLflow server, such as http://127.0.0.1:5000")
        if parts.username or parts.password:
            raise ValueError(
                "put user and password into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        _ = parts.port  # urlsplit raises ValueError here for a port that is not a number
        return uri.rstrip("/")


def read_environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """Read and check the environment; an empty variable counts as not set.

    Raises SettingsError, naming the variable, its value and what is allowed.
    """
    known = {name: variables[name] for name in Environment.model_fields if variables.get(name)}
    return validated(Environment, known, "environment")
