"""What one row of a request may be, and that the quick way reads it as the careful one does."""

import json
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from pydantic_core import from_json
from test_schema import CATEGORY, INTEGER, NUMBER, model_schema

from churn import request
from churn.column import Column, Seen
from churn.encoding import CategorySegments, Encoding, NumberSegments
from churn.request import BadRow, RowReader
from churn.schema import ModelSchema


def reader(schema: ModelSchema) -> RowReader:
    """Of a model that takes every number, and a 1 for "Basic"."""
    columns: dict[str, NumberSegments | CategorySegments] = {
        name: NumberSegments(True, (0.0,), (7.0, 1.0))
        if column.is_numeric
        else CategorySegments({"Basic": (1.0,)}, (0.0,), (-1.0,))
        for name, column in schema.used.items()
    }
    return RowReader(schema, Encoding(columns))


def accepted(schema: ModelSchema, body: object) -> dict[str, Any]:
    """The clean row, which read() encodes as well."""
    row = from_json(body if isinstance(body, str) else json.dumps(body))
    found = reader(schema)
    clean = found.clean(row)
    vector, warnings = found.read(row)
    assert vector == found.encoding.vector(clean)
    assert warnings == schema.unfamiliar(clean)
    return clean


def refused(schema: ModelSchema, body: object) -> tuple[object, str]:
    """Where the request is wrong, and what is said about it."""
    row = from_json(body if isinstance(body, str) else json.dumps(body))
    with pytest.raises(BadRow) as caught:
        reader(schema).read(row)
    (problem,) = caught.value.problems
    return ".".join(problem["loc"][1:]), problem["msg"]


@pytest.mark.parametrize(
    "name",
    ["Monthly Charges", "plan-type", "größe", "class", "1st", "model_config", "feature_1", "json",
     "a.b", "model_fields", "__class__", "schema", "self"],
)  # fmt: skip
def test_a_feature_may_have_any_name(name: str) -> None:
    schema = model_schema(**{"x": NUMBER, name: CATEGORY})
    row = {"x": 1.5, name: "Basic"}
    assert accepted(schema, row) == row
    assert refused(schema, {"x": 1.5}) == (name, "is missing")
    assert name in request.json_schema(schema)["properties"]


def test_a_whole_number_may_come_as_an_integer_or_a_float() -> None:
    schema = model_schema(n=INTEGER)
    assert accepted(schema, '{"n": 3}')["n"] == accepted(schema, '{"n": 3.0}')["n"] == 3
    assert refused(schema, '{"n": 3.5}') == ("n", "3.5 is not a whole number")


def test_white_space_around_a_category_does_not_matter() -> None:
    assert accepted(model_schema(plan=CATEGORY), {"plan": " Basic\n"})["plan"] == "Basic"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_a_number_of_a_request_is_finite(number: str) -> None:
    schema = model_schema(x=Column(type="number", nullable=True))
    field, said = refused(schema, f'{{"x": {number}}}')
    assert field == "x"
    assert "finite number" in said


@pytest.mark.parametrize("value", ["5", True, [], {}, ""])
def test_a_request_writes_a_number_as_a_number(value: object) -> None:
    said = refused(model_schema(x=NUMBER), {"x": value})
    assert said == ("x", f"should be a number, not {value!r}")


@pytest.mark.parametrize("value", [5, 1.5, True, [], {}])
def test_a_request_writes_a_category_as_a_text(value: object) -> None:
    said = refused(model_schema(plan=CATEGORY), {"plan": value})
    assert said == ("plan", f"should be a text, not {value!r}")


@pytest.mark.parametrize("column", [NUMBER, INTEGER, CATEGORY])
def test_null_is_taken_where_a_value_may_be_missing(column: Column) -> None:
    field, said = refused(model_schema(x=column), {"x": None})
    assert field == "x"
    assert "is missing" in said
    nullable = column.model_copy(update={"nullable": True})
    assert accepted(model_schema(x=nullable), {"x": None})["x"] is None


def test_a_nullable_feature_must_be_sent_all_the_same() -> None:
    schema = model_schema(x=Column(type="number", nullable=True))
    assert refused(schema, {}) == ("x", "is missing")


def test_the_hard_limits_hold_for_a_request() -> None:
    schema = model_schema(x=Column(type="number", min=0, max=10))
    assert refused(schema, {"x": 11}) == ("x", "11 is above the maximum 10")


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
        assert row == {"flag": 1.0, "since": 365.0}
    assert refused(schema, {"flag": [1], "since": "1971"})[0] == "flag"
    assert refused(schema, {"flag": "perhaps", "since": "1971"})[0] == "flag"
    assert refused(schema, {"flag": None, "since": "1971"})[0] == "flag"
    assert refused(schema, {"flag": "No", "since": "71-1"})[0] == "since"
    assert refused(schema, {"flag": "No", "since": 1971})[0] == "since"


def test_a_column_that_is_not_used_is_no_field() -> None:
    schema = model_schema(x=NUMBER, leak=Column(type="number", use=False))
    assert schema.features == ["x"]
    assert accepted(schema, {"x": 1}) == {"x": 1.0}
    assert refused(schema, {"x": 1, "leak": 1})[0] == "leak"


def test_a_field_that_is_no_feature_is_refused() -> None:
    schema = model_schema(x=NUMBER)
    assert refused(schema, {"x": 1, "y": 2}) == ("y", "is not a feature of this model")
    assert refused(schema, {"x": 1, "feature_0": 2})[0] == "feature_0"


@pytest.mark.parametrize("body", ["[1]", "null", '"x"', "1"])
def test_what_is_no_json_object_is_refused(body: str) -> None:
    assert refused(model_schema(x=NUMBER), body) == ("row", "should be a JSON object")


def test_many_rows_are_read_and_the_bad_ones_named() -> None:
    schema = model_schema(x=NUMBER, plan=CATEGORY)
    rows = [{"x": 1, "plan": "Basic"}, {"x": "1"}, 5, {"x": 2.5, "plan": "Gold"}]
    vectors, warnings, bad = reader(schema).read_many(rows)
    assert vectors.tolist() == [[1.0, 0.0, 1.0], [2.5, 0.0, 0.0]]
    assert warnings == [[], []]
    assert {index: [each["msg"] for each in problems] for index, problems in bad.items()} == {
        1: ["should be a number, not '1'", "is missing"],
        2: ["should be a JSON object"],
    }
    assert reader(schema).read_many([])[0].shape == (0, 3)


@drawn(st.lists(st.fixed_dictionaries({
    "n": st.integers(1, 110), "x": st.sampled_from([-5, 0, 1.5, 50, 51]),
    "plan": st.sampled_from(["Basic", "Gold", None]), "flag": st.sampled_from([True, 1, "Yes"]),
})))  # fmt: skip
def test_many_rows_are_read_as_one_by_one(rows: list[dict[str, Any]]) -> None:
    schema = model_schema(**{name: HARD[name] for name in ("n", "x", "plan", "flag")})
    found = reader(schema)
    vectors, warnings, bad = found.read_many(rows)
    one_by_one = []
    for index, row in enumerate(rows):
        try:
            one_by_one.append(found.read(row))
        except BadRow as error:
            assert bad.pop(index) == error.problems
    assert not bad
    assert (vectors.tolist(), warnings) == ([v for v, _ in one_by_one], [w for _, w in one_by_one])


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 120), st.floats(), st.text(max_size=3),
    st.sampled_from(["Basic", " Basic ", "Yes", "no", "1", "2020-01-01", -1, 999, 2**60]),
    st.lists(st.integers(), max_size=1),
)  # fmt: skip
HARD = {
    "n": Column(type="integer", min=0, max=100, missing_values=("99",), nullable=True,
                seen=Seen(min=1, max=110)),
    "x": Column(type="number", max=50, seen=Seen(min=-5, max=90)),
    "plan": Column(type="category", nullable=True, seen=Seen(values=("Basic",))),
    "flag": Column(type="boolean", values=("No", "Yes"), seen=Seen(min=0, max=1)),
    "only": Column(type="boolean", values=("No", "Yes"), seen=Seen(min=0, max=0)),
    "since": Column(type="date", format="%Y-%m-%d", seen=Seen(min=0, max=40_000)),
    "void": Column(type="number", nullable=True, seen=Seen()),
}  # fmt: skip


@drawn(st.fixed_dictionaries({}, optional=dict.fromkeys([*HARD, "extra"], VALUES)))
def test_any_row_is_read_the_quick_way_as_the_careful_way(row: dict[str, Any]) -> None:
    schema = model_schema(**HARD)
    found = reader(schema)
    try:
        clean = found.clean(row)
    except BadRow as error:
        with pytest.raises(BadRow) as caught:
            found.read(dict(row))
        assert caught.value.problems == error.problems
        return
    vector, warnings = found.read(dict(row))
    assert vector == found.encoding.vector(clean)
    assert warnings == schema.unfamiliar(clean)


def test_the_json_schema_tells_what_a_field_takes() -> None:
    schema = model_schema(
        tenure=Column(type="integer", min=0, max=1200),
        minutes=Column(type="number", nullable=True),
        plan=Column(type="category", seen=Seen(values=("Basic", "Pro"))),
    )
    document = request.json_schema(schema)
    tenure, minutes, plan = (document["properties"][name] for name in schema.features)
    assert (tenure["type"], tenure["minimum"], tenure["maximum"]) == ("integer", 0, 1200)
    assert minutes["type"] == ["number", "null"]
    assert plan["type"] == "string"
    assert "Basic, Pro" in plan["description"]
    assert document["required"] == schema.features
    assert document["additionalProperties"] is False


def test_the_example_of_the_json_schema_is_a_request_that_is_accepted() -> None:
    schema = model_schema(n=INTEGER, plan=CATEGORY)
    (example,) = request.json_schema(schema)["examples"]
    assert example == {"n": 1, "plan": "Basic"}
    assert accepted(schema, example)["n"] == 1
