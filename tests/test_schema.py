import json
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


# Requests


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


def accepted(schema: ModelSchema, body: object) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    return schema.request_model().model_validate_json(text).model_dump(by_alias=True)


def refused(schema: ModelSchema, body: object) -> tuple[object, str]:
    """Where the request is wrong, and what is said about it."""
    with pytest.raises(ValidationError) as caught:
        accepted(schema, body)
    (detail,) = caught.value.errors()
    return ".".join(map(str, detail["loc"])), detail["msg"]


@pytest.mark.parametrize(
    "name",
    ["Monthly Charges", "plan-type", "größe", "class", "1st", "model_config", "feature_1", "json",
     "a.b", "model_fields", "__class__", "schema", "self"],
)  # fmt: skip
def test_a_feature_may_have_any_name(name: str) -> None:
    schema = model_schema(**{"x": NUMBER, name: CATEGORY})
    row = {"x": 1.5, name: "Basic"}
    assert accepted(schema, row) == row | {"request_id": None}
    assert refused(schema, {"x": 1.5}) == (name, "Field required")
    assert name in schema.request_model().model_json_schema(by_alias=True)["properties"]


def test_a_whole_number_may_come_as_an_integer_or_a_float() -> None:
    schema = model_schema(n=INTEGER)
    assert accepted(schema, '{"n": 3}')["n"] == accepted(schema, '{"n": 3.0}')["n"] == 3
    assert refused(schema, '{"n": 3.5}') == ("n", "Value error, 3.5 is not a whole number")


def test_white_space_around_a_category_does_not_matter() -> None:
    assert accepted(model_schema(plan=CATEGORY), {"plan": " Basic\n"})["plan"] == "Basic"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_a_number_of_a_request_is_finite(number: str) -> None:
    schema = model_schema(x=Column(type="number", nullable=True))
    assert refused(schema, f'{{"x": {number}}}') == ("x", "Input should be a finite number")


@pytest.mark.parametrize("value", ["5", True, [], {}, ""])
def test_a_request_writes_a_number_as_a_number(value: object) -> None:
    assert refused(model_schema(x=NUMBER), {"x": value}) == ("x", "Input should be a valid number")


@pytest.mark.parametrize("value", [5, 1.5, True, [], {}])
def test_a_request_writes_a_category_as_a_text(value: object) -> None:
    said = refused(model_schema(plan=CATEGORY), {"plan": value})
    assert said == ("plan", "Input should be a valid string")


@pytest.mark.parametrize("column", [NUMBER, INTEGER, CATEGORY])
def test_null_is_taken_where_a_value_may_be_missing(column: Column) -> None:
    field, said = refused(model_schema(x=column), {"x": None})
    assert field == "x"
    assert "is missing" in said
    nullable = column.model_copy(update={"nullable": True})
    assert accepted(model_schema(x=nullable), {"x": None})["x"] is None


def test_a_nullable_feature_must_be_sent_all_the_same() -> None:
    schema = model_schema(x=Column(type="number", nullable=True))
    assert refused(schema, {}) == ("x", "Field required")


def test_the_hard_limits_hold_for_a_request() -> None:
    schema = model_schema(x=Column(type="number", min=0, max=10))
    assert refused(schema, {"x": 11}) == ("x", "Value error, 11 is above the maximum 10")


def test_a_category_that_the_schema_does_not_list_is_let_through_to_be_warned_about() -> None:
    schema = model_schema(
        plan=Column(type="category", values=("Basic",), seen=Seen(values=("Basic",)))
    )
    row = accepted(schema, {"plan": "Gold"})
    assert schema.unfamiliar(row) == ["plan: 'Gold' was not seen in training"]


def test_a_boolean_and_a_date_come_in_their_words_or_as_json_has_them() -> None:
    schema = model_schema(
        flag=Column(type="boolean", values=("No", "Yes")), since=Column(type="date", format="%Y")
    )
    for said in ("Yes", True, 1):
        row = accepted(schema, {"flag": said, "since": "1971"})
        assert row == {"flag": 1.0, "since": 365.0, "request_id": None}
    assert refused(schema, {"flag": [1], "since": "1971"})[0] == "flag"
    assert refused(schema, {"flag": "perhaps", "since": "1971"})[0] == "flag"
    assert refused(schema, {"flag": None, "since": "1971"})[0] == "flag"
    assert refused(schema, {"flag": "No", "since": "71-1"})[0] == "since"
    assert refused(schema, {"flag": "No", "since": 1971})[0] == "since"


def test_a_column_that_is_not_used_is_no_field() -> None:
    schema = model_schema(x=NUMBER, leak=Column(type="number", use=False))
    assert schema.features == ["x"]
    assert accepted(schema, {"x": 1}) == {"x": 1.0, "request_id": None}
    assert refused(schema, {"x": 1, "leak": 1})[0] == "leak"


def test_a_schema_without_a_feature_is_refused() -> None:
    with pytest.raises(ValidationError, match="no column is a feature"):
        Schema(columns={"x": Column(type="number", use=False)})


def test_a_field_that_is_no_feature_is_refused() -> None:
    schema = model_schema(x=NUMBER)
    assert refused(schema, {"x": 1, "y": 2}) == ("y", "Extra inputs are not permitted")
    assert refused(schema, {"x": 1, "feature_0": 2})[0] == "feature_0"


@pytest.mark.parametrize("body", ["", "[1]", "null", '"x"', "{", "nan", "[" * 60_000])
def test_what_is_no_json_object_is_refused(body: str) -> None:
    assert refused(model_schema(x=NUMBER), body)[0] == ""


def test_a_request_may_bring_its_own_id() -> None:
    schema = model_schema(x=NUMBER)
    assert accepted(schema, {"x": 1, "request_id": "abc"})["request_id"] == "abc"
    assert accepted(schema, {"x": 1, "request_id": None})["request_id"] is None
    assert refused(schema, {"x": 1, "request_id": 5})[0] == "request_id"
    assert refused(schema, {"x": 1, "request_id": "x" * 201})[0] == "request_id"


def test_the_json_schema_tells_what_a_field_takes() -> None:
    schema = model_schema(
        tenure=Column(type="integer", min=0, max=1200),
        minutes=Column(type="number", nullable=True),
        plan=Column(type="category", seen=Seen(values=("Basic", "Pro"))),
    )
    document = schema.request_model().model_json_schema(by_alias=True)
    tenure, minutes, plan = (document["properties"][name] for name in schema.features)
    assert (tenure["type"], tenure["minimum"], tenure["maximum"]) == ("integer", 0, 1200)
    assert minutes["type"] == ["number", "null"]
    assert plan["type"] == "string"
    assert "Basic, Pro" in plan["description"]
    assert document["required"] == schema.features
    assert document["additionalProperties"] is False


def test_the_example_of_the_json_schema_is_a_request_that_is_accepted() -> None:
    schema = model_schema(n=INTEGER, plan=CATEGORY)
    (example,) = schema.request_model().model_json_schema(by_alias=True)["examples"]
    assert example == {"n": 1, "plan": "Basic"}
    assert accepted(schema, example)["n"] == 1


def test_a_schema_survives_its_own_json() -> None:
    schema = model_schema(
        n=Column(type="integer", min=0, seen=Seen(min=0, max=9)),
        plan=Column(type="category", values=("Basic", "12"), seen=Seen(values=("12",))),
    )
    text = schema.model_dump_json(exclude_defaults=True)
    assert ModelSchema.model_validate_json(text) == schema
