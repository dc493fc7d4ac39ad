from typing import Any

import pytest
from pydantic import ValidationError

from churn.column import Column, Seen, Value
from churn.errors import SettingsError
from churn.schema import Example, ModelSchema, Schema, read_schema
from churn.settings import validated

NUMBER = Column(type="number")
INTEGER = Column(type="integer")
CATEGORY = Column(type="category")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, "columns is missing"),
        ({"columns": {}}, "columns = {}: "),
        (
            {"column": {}, "columns": {"a": {"type": "number"}}},
            "column is not a known key (did you",
        ),
        ({"columns": ["tenure"]}, "columns = ['tenure']: "),
        ({"columns": {"a": {}}}, "columns.a.type is missing"),
        (
            {"columns": {"a": {"type": "float"}}},
            "columns.a.type = 'float': input should be 'intege",
        ),
        ({"columns": {"a": {"type": "number", "mim": "0"}}}, "columns.a.mim is not a known key"),
        ({"columns": {"a": {"type": "number", "min": "low"}}}, "columns.a.min = 'low': "),
        ({"columns": {"a": {"type": "number", "min": "nan"}}}, "columns.a.min = 'nan': "),
        ({"columns": {"a": {"type": "number", "min": "2", "max": "1"}}}, "min 2 is above max 1"),
        ({"columns": {"a": {"type": "category", "min": "1"}}}, "a category has `values`, no `min`"),
        ({"columns": {"a": {"type": "integer", "values": ["1"]}}}, "has `min` and `max`, no `valu"),
        (
            {"columns": {"a": {"type": "number", "nullable": "often"}}},
            "columns.a.nullable = 'often'",
        ),
        ({"columns": {"_split": {"type": "number"}}}, "a column cannot be named _split"),
        ({"columns": {"request_id": {"type": "number"}}}, "a column cannot be named request_id"),
    ],
)
def test_a_schema_that_says_nonsense_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        validated(Schema, schema, "data/schema.yaml")
    assert said in str(caught.value)


def test_the_projects_own_schema_is_valid() -> None:
    assert read_schema().features


def test_the_features_keep_the_order_of_the_schema() -> None:
    schema = Schema(columns={"b": CATEGORY, "c": NUMBER, "a": INTEGER})
    assert schema.features == ["b", "c", "a"]
    assert (schema.numeric, schema.categorical) == (["c", "a"], ["b"])


def model_schema(**columns: Column) -> ModelSchema:
    row: dict[str, Value] = {
        name: 1.0 if column.is_numeric else "Basic" for name, column in columns.items()
    }
    return ModelSchema(
        columns=columns,
        target="churn",
        positive="1",
        threshold=0.5,
        example=Example(row=row, probability=0.25),
    )


def test_a_schema_without_a_feature_is_refused() -> None:
    with pytest.raises(ValidationError, match="no column is a feature"):
        Schema(columns={"x": Column(type="number", use=False)})


def test_a_schema_survives_its_own_json() -> None:
    schema = model_schema(
        n=Column(type="integer", min=0, seen=Seen(min=0, max=9)),
        plan=Column(type="category", values=("Basic", "12"), seen=Seen(values=("12",))),
    )
    text = schema.model_dump_json(exclude_defaults=True)
    assert ModelSchema.model_validate_json(text) == schema
