"""The schema: the columns of the table and what every later snapshot is held to; and the schema
that travels with a model, by which a request is held to what the model was trained on."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from churn.column import Column, Value

SPLIT = "_split"
"""The column of data/processed.csv that holds `train` or `test`."""

REQUEST_ID = "request_id"
"""The one field of a request that is not a feature."""

Severity = Literal["error", "warning", "ignore"]


class Checks(BaseModel):
    """How serious it is when a snapshot differs from its schema, by the kind of difference.

    Where it is no error the snapshot is still used: a new column is left out, one that is missing
    counts as empty, and so does a value of another type; a number beyond its limits and a category
    that is not listed stay as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    new_columns: Severity = "error"
    missing_columns: Severity = "error"
    types: Severity = "error"
    limits: Severity = "error"
    categories: Severity = "error"
    missing: Severity = "error"
    missing_rate: Severity = "warning"
    class_balance: Severity = "warning"


def _empty(value: Any) -> Any:
    return {} if value in ("", "null", "~") else value


class Schema(BaseModel):
    """The columns of a table in their order; those with `use` are its features. The target, the id
    and dropped columns are named in params.yaml and are not part of it.

    `positive_rate` is the share of the positive class, 0 to 1, in the table from which the schema
    was made. It and each column's missing rate may differ from a later snapshot's by `tolerance`,
    and by what chance explains, before the snapshot counts as another one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    missing_values: tuple[str, ...] = ("",)
    positive_rate: float | None = Field(None, ge=0, le=1)
    tolerance: float = Field(0.05, ge=0, le=1)
    checks: Annotated[Checks, BeforeValidator(_empty)] = Checks()
    columns: dict[str, Column] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_features(self) -> "Schema":
        if not self.features:
            raise ValueError("no column is a feature: each one says `use: no`")
        return self

    @model_validator(mode="after")
    def _no_reserved_names(self) -> "Schema":
        for reserved in {SPLIT, REQUEST_ID} & set(self.columns):
            raise ValueError(f"a column cannot be named {reserved}: the project uses that name")
        return self

    @property
    def used(self) -> dict[str, Column]:
        """The columns that are features, by name."""
        return {name: column for name, column in self.columns.items() if column.use}

    @property
    def features(self) -> list[str]:
        return list(self.used)

    @property
    def numeric(self) -> list[str]:
        return [name for name, column in self.used.items() if column.is_numeric]

    @property
    def categorical(self) -> list[str]:
        return [name for name, column in self.used.items() if not column.is_numeric]


class Example(BaseModel):
    """One row and the probability that the model gave it when it was trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: dict[str, Value]
    probability: float


class SplitRule(BaseModel):
    """How the rows were split into train and test (see split.assign)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None
    test_size: float
    salt: str


class ModelSchema(Schema):
    """The schema that travels with a model version: what it was trained on and how it decides."""

    target: str
    positive: str
    threshold: float
    example: Example
    split: SplitRule | None = None

    def unfamiliar(self, row: dict[str, Value]) -> list[str]:
        """One warning for each value of a clean row that training did not see."""
        found = ((name, column.unfamiliar(row[name])) for name, column in self.used.items())
        return [f"{name}: {reason}" for name, reason in found if reason]

    @property
    def given_example(self) -> dict[str, Any]:
        """The example row as a request gives it."""
        row = self.example.row
        return {name: column.given(row[name]) for name, column in self.used.items()}


def read_schema() -> Schema:
    """data/schema.yaml, checked. Raises SettingsError naming each key that is wrong."""
    # Here, because serving needs a model's schema and reads no YAML.
    from churn import paths, yamlfile
    from churn.settings import validated

    return validated(Schema, yamlfile.read(paths.SCHEMA), paths.shown(paths.SCHEMA))
