"""What each column means, and how one value of it is cleaned: for a table and for a request."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictFloat,
    StrictStr,
    WithJsonSchema,
    create_model,
    model_validator,
)

from churn import paths
from churn.settings import read_yaml, validated

SPLIT = "_split"
"""The column of data/processed.csv that holds `train` or `test`."""

REQUEST_ID = "request_id"
"""The one field of a request that is not a feature."""

Value = float | str | None
"""A clean value: a finite number, a text that is not empty, or None where it is missing."""

# What counts as a number in a text: ASCII digits, no grouping, no words such as inf or nan.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


# Up to here a float tells every whole number from the next.
_LARGEST_INTEGER = 2**53


class BadValue(ValueError):
    """A value that its column does not allow; the text says why and shows the value."""


class Seen(BaseModel):
    """What the training split held of a column: the range of its numbers, or its categories."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] = ()


class Column(BaseModel):
    """One feature: its type, its hard limits (`min` and `max`, both allowed themselves), its
    categories, and whether it may be missing. A served model's columns also say what was seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["integer", "number", "category"]
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    values: tuple[str, ...] = ()
    nullable: bool = False
    seen: Seen | None = None

    @model_validator(mode="after")
    def _limits_fit_the_type(self) -> "Column":
        if self.type == "category" and (self.min is not None or self.max is not None):
            raise ValueError("a category has `values`, no `min` or `max`")
        if self.type != "category" and self.values:
            raise ValueError(f"a column of type {self.type} has `min` and `max`, no `values`")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    @property
    def is_numeric(self) -> bool:
        return self.type != "category"

    def clean(self, value: object, missing_values: tuple[str, ...] = ("",)) -> Value:
        """The value as the model takes it. Texts are stripped; a numeric column also takes the
        text of a number.

        Raises BadValue where the column does not allow the value.
        """
        if isinstance(value, str):
            value = value.strip()
        missing = value is None or value == "" or value in missing_values
        if missing or (isinstance(value, float) and math.isnan(value)):
            if not self.nullable:
                raise BadValue("is missing, and the schema does not say nullable")
            return None
        return self._clean_number(value) if self.is_numeric else self._clean_category(value)

    def _clean_number(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadValue(f"{_short(value)} is not a number")
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise BadValue(f"{_short(value)} is not a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise BadValue(f"{_short(value)} is not a finite number")
        if self.type == "integer" and not number.is_integer():
            raise BadValue(f"{_short(value)} is not a whole number")
        if self.type == "integer" and abs(number) > _LARGEST_INTEGER:
            raise BadValue(f"{_short(value)} is too large for a whole number")
        if self.min is not None and number < self.min:
            raise BadValue(f"{_short(value)} is below the minimum {self.min:g}")
        if self.max is not None and number > self.max:
            raise BadValue(f"{_short(value)} is above the maximum {self.max:g}")
        return number + 0.0  # -0.0 becomes 0.0

    def _clean_category(self, value: object) -> str:
        if not isinstance(value, str):
            raise BadValue(f"{_short(value)} is not a text")
        # One form of line break, because a CSV file does not keep the others apart.
        return value.replace("\r\n", "\n").replace("\r", "\n")

    def unlisted(self, value: Value) -> bool:
        """Whether the value is a category that the schema does not list."""
        return bool(self.values) and value is not None and value not in self.values

    def unfamiliar(self, value: Value) -> str | None:
        """Why a clean value is outside what the model was trained on, or None."""
        if value is None or self.seen is None:
            return None
        if isinstance(value, str):
            seen = value in self.seen.values
            return None if seen else f"{_short(value)} was not seen in training"
        low, high = self.seen.min, self.seen.max
        if low is None or high is None or low <= value <= high:
            return None
        return f"{value:g} is outside the training range {low:g} to {high:g}"


class Schema(BaseModel):
    """The features of a table in their order. Columns that are the target, the id or dropped are
    named in params.yaml and are not part of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    missing_values: tuple[str, ...] = ("",)
    columns: dict[str, Column] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_reserved_names(self) -> "Schema":
        for reserved in {SPLIT, REQUEST_ID} & set(self.columns):
            raise ValueError(f"a column cannot be named {reserved}: the project uses that name")
        return self

    @property
    def features(self) -> list[str]:
        return list(self.columns)

    @property
    def numeric(self) -> list[str]:
        return [name for name, column in self.columns.items() if column.is_numeric]

    @property
    def categorical(self) -> list[str]:
        return [name for name, column in self.columns.items() if not column.is_numeric]


class Example(BaseModel):
    """One row and the probability that the model gave it when it was trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: dict[str, Value]
    probability: float


class ModelSchema(Schema):
    """The schema that travels with a model version: what it was trained on and how it decides."""

    target: str
    positive: str
    threshold: float
    example: Example

    def unfamiliar(self, row: dict[str, Value]) -> list[str]:
        """One warning for each value of a clean row that training did not see."""
        found = ((name, column.unfamiliar(row[name])) for name, column in self.columns.items())
        return [f"{name}: {reason}" for name, reason in found if reason]

    def request_model(self) -> type[BaseModel]:
        """A pydantic model of one flat request: the features, plus an optional request_id.

        Its fields are numbered and the columns' names are aliases, because a column may have a
        name that is no Python identifier.
        """
        fields: dict[str, Any] = {
            f"feature_{number}": (self._field_type(column), Field(alias=name))
            for number, (name, column) in enumerate(self.columns.items())
        }
        fields[REQUEST_ID] = (StrictStr | None, Field(default=None, max_length=200))
        example = {name: _as_json(value) for name, value in self.example.row.items()}
        config = ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})
        return create_model("PredictRequest", __config__=config, **fields)

    def _field_type(self, column: Column) -> Any:
        def clean(value: float | str | None) -> Value:
            return column.clean(value, self.missing_values)

        number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
        kind: Any = number if column.is_numeric else StrictStr
        shown = WithJsonSchema(_json_schema(column))
        return Annotated[kind | None, AfterValidator(clean), shown]


def _json_schema(column: Column) -> dict[str, Any]:
    """The JSON schema of one feature, as a reader of /openapi.json sees it."""
    kind = "string" if column.type == "category" else column.type
    shown: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    if column.min is not None:
        shown["minimum"] = _as_json(column.min)
    if column.max is not None:
        shown["maximum"] = _as_json(column.max)
    if column.seen and column.seen.values:
        shown["description"] = f"seen in training: {', '.join(column.seen.values)}"
    return shown


def _as_json(value: Value) -> Any:
    """A whole number without its `.0`, everything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _short(value: object) -> str:
    text = repr(_as_json(value) if isinstance(value, float) else value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def read_schema() -> Schema:
    """data/schema.yaml, checked. Raises SettingsError naming each key that is wrong."""
    return validated(Schema, read_yaml(paths.SCHEMA), paths.shown(paths.SCHEMA))
