"""What changes a model: params.yaml, read here and nowhere else, and checked before any work
starts. (What changes a deployment is in environment.py.)"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from churn import files, paths, yamlfile
from churn.errors import SettingsError

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """One mapping of params.yaml: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


def _none_if_empty(value: Any) -> Any:
    return None if value in ("", "null", "~") else value


def _listed(value: Any) -> Any:
    return [] if value in ("", "null", "~") else value


def _mapped(value: Any) -> Any:
    return {} if value in ("", "null", "~") else value


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


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Leaves = Annotated[int, Field(ge=2)]
CountOrNone = Annotated[Count | None, BeforeValidator(_none_if_empty)]


class LogisticRegression(Section):
    C: Positive
    max_iter: Count


class HistGradientBoosting(Section):
    learning_rate: Share
    max_iter: Count
    max_leaf_nodes: Leaves
    min_samples_leaf: Count
    l2_regularization: NotNegative
    max_features: Share = 1.0


class RandomForest(Section):
    n_estimators: Count
    min_samples_leaf: Count
    max_depth: CountOrNone = None


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

    def with_hyperparameters(self, estimator: str, values: Mapping[str, Any]) -> "Train":
        """A copy in which these parameters of the estimator have these valid values."""
        section: Section = getattr(self, estimator)
        return self.model_copy(update={estimator: section.model_copy(update=dict(values))})

    @property
    def estimators(self) -> tuple[str, ...]:
        """The estimators that `model` asks for, the simpler one first."""
        return ESTIMATORS if self.model == AUTO else (self.model,)


Allowed = TypeVar("Allowed")


class Space(Section, Generic[Allowed]):
    """What tuning may set one parameter to: anything from `low` to `high`, both included, evenly
    spread over the orders of magnitude if `log`; or one of `values`."""

    low: Allowed | None = None
    high: Allowed | None = None
    log: bool = False
    values: tuple[Allowed, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _is_a_mapping(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("write {low: …, high: …} or {values: […]}")
        return value

    @model_validator(mode="after")
    def _is_a_space(self) -> "Space[Allowed]":
        low: Any = self.low
        high: Any = self.high
        if bool(self.values) == (low is not None or high is not None):
            raise ValueError("give either `low` and `high` or `values`")
        if self.values:
            if self.log:
                raise ValueError("`log` goes with `low` and `high`, not with `values`")
            return self
        if low is None or high is None or low >= high:
            raise ValueError(f"`low` must be below `high`, and they are {low} and {high}")
        if self.log and low <= 0:
            raise ValueError("with `log` the `low` must be above 0")
        return self


class LogisticRegressionSpace(Section):
    C: Space[Positive] | None = None
    max_iter: Space[Count] | None = None


class HistGradientBoostingSpace(Section):
    learning_rate: Space[Share] | None = None
    max_iter: Space[Count] | None = None
    max_leaf_nodes: Space[Leaves] | None = None
    min_samples_leaf: Space[Count] | None = None
    l2_regularization: Space[NotNegative] | None = None
    max_features: Space[Share] | None = None


class RandomForestSpace(Section):
    n_estimators: Space[Count] | None = None
    min_samples_leaf: Space[Count] | None = None
    max_depth: Space[CountOrNone] | None = None


class Tune(Section):
    """What `python src/tune.py` searches."""

    trials: Annotated[int, Field(ge=1, le=10_000)] = 20
    logistic_regression: Annotated[LogisticRegressionSpace, BeforeValidator(_mapped)] = (
        LogisticRegressionSpace()
    )
    hist_gradient_boosting: Annotated[HistGradientBoostingSpace, BeforeValidator(_mapped)] = (
        HistGradientBoostingSpace()
    )
    random_forest: Annotated[RandomForestSpace, BeforeValidator(_mapped)] = RandomForestSpace()

    def spaces(self, estimator: str) -> dict[str, Space[Any]]:
        """The declared spaces of the estimator's parameters, by their names."""
        declared: Section = getattr(self, estimator)
        return {name: space for name, space in declared if space is not None}


class Evaluate(Section):
    gate_f1: float = Field(ge=0, le=1)
    cost_false_negative: NotNegative = 1.0
    cost_false_positive: NotNegative = 1.0
    segments: Annotated[tuple[Name, ...], BeforeValidator(_listed)] = ()

    @model_validator(mode="after")
    def _a_mistake_costs_something(self) -> "Evaluate":
        if self.cost_false_negative == self.cost_false_positive == 0:
            raise ValueError("one of cost_false_negative and cost_false_positive must be above 0")
        return self

    @model_validator(mode="after")
    def _segments_differ(self) -> "Evaluate":
        for name in self.segments:
            if self.segments.count(name) > 1:
                raise ValueError(f"segments names {name!r} more than once")
        return self


class Promote(Section):
    compare_by: Literal["roc_auc", "f1", "log_loss", "brier"] = "roc_auc"
    max_regression: float = Field(0.01, ge=0, le=1)


class Params(Section):
    """params.yaml, whole."""

    data: Data
    split: Split
    train: Train
    tune: Tune = Tune()
    evaluate: Evaluate
    promote: Promote = Promote()

    def with_segments(self, names: tuple[str, ...]) -> "Params":
        """These parameters with other evaluate.segments."""
        evaluate = self.evaluate.model_copy(update={"segments": names})
        return self.model_copy(update={"evaluate": evaluate})


def read_params(path: Path = paths.PARAMS) -> Params:
    """Read and check params.yaml.

    Raises SettingsError, naming each key that is wrong, its value and what is allowed.
    """
    return validated(Params, yamlfile.read(path), paths.shown(path))


def edit_params(changes: Mapping[str, object], path: Path = paths.PARAMS) -> None:
    """Set values in params.yaml by dotted keys, such as {"data.id": None, "train.seed": 7}, and
    keep everything else of the file, its comments too.

    The file is replaced at once, and only if the result is valid: raises SettingsError as
    read_params does, and where a section is missing.
    """
    text = yamlfile.edited(path, changes)
    validated(Params, yamlfile.parsed(text, path), paths.shown(path))
    files.write_text(path, text)


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
