import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.column import BadValue, Column, Seen, Value
from churn.schema import Example, ModelSchema, Schema, read_schema
from churn.settings import SettingsError, validated

NUMBER = Column(type="number")
INTEGER = Column(type="integer")
CATEGORY = Column(type="category")

# The same examples each time, on a machine of any speed.
examples = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])

columns = st.builds(
    Column,
    type=st.sampled_from(["integer", "number"]),
    min=st.none() | st.floats(-1e6, 0),
    max=st.none() | st.floats(0, 1e6),
    nullable=st.booleans(),
) | st.builds(Column, type=st.just("category"), nullable=st.booleans())

requests = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["NA", "nan", "inf", "-inf", "1_000", "0x10", " 1 ", "1e5", "١", "1e999"])
)


def cleaned(column: Column, value: object) -> Value | str:
    """The clean value, or the word for a refusal."""
    try:
        return column.clean(value)
    except BadValue:
        return "refused"


@examples
@given(columns, requests)
def test_a_clean_value_is_a_finite_number_a_text_or_missing(column: Column, value: object) -> None:
    try:
        clean = column.clean(value)
    except BadValue as error:
        assert len(str(error)) < 200
        return
    if clean is None:
        assert column.nullable
    elif column.is_numeric:
        assert isinstance(clean, float)
        assert math.isfinite(clean)
        assert clean.is_integer() or column.type == "number"
        assert column.min is None or clean >= column.min
        assert column.max is None or clean <= column.max
    else:
        assert isinstance(clean, str)
        assert clean == clean.strip() != ""


@examples
@given(columns, requests)
def test_cleaning_a_clean_value_changes_nothing(column: Column, value: object) -> None:
    clean = cleaned(column, value)
    if clean != "refused":
        assert column.clean(clean) == clean


@examples
@given(columns.filter(lambda column: column.is_numeric), st.integers() | st.floats())
def test_a_number_counts_the_same_as_its_text_in_a_table(column: Column, number: float) -> None:
    if isinstance(number, float) and not math.isfinite(number):
        # NaN as a number is missing, as a text it is a word: neither becomes a number.
        assert not isinstance(cleaned(column, number), float)
        assert cleaned(column, repr(number)) == "refused"
    else:
        assert cleaned(column, f" {number!r}\t") == cleaned(column, number)


@examples
@given(st.text())
def test_a_category_counts_the_same_with_white_space_around_it(text: str) -> None:
    assert cleaned(CATEGORY, f"\t {text} \n") == cleaned(CATEGORY, text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("+7", 7),
        ("-7", -7),
        ("7.", 7),
        (".5", 0.5),
        ("1e3", 1000),
        ("007", 7),
    ],
)
def test_the_text_of_a_number_is_a_number(text: str, number: float) -> None:
    assert NUMBER.clean(text) == number


@pytest.mark.parametrize(
    "text",
    ["1_000", "0x10", "inf", "-inf", "infinity", "nan", "NaN", "NA", "१२", "١", "½", "1,5", "1 000",
     "1.000,5", "1e", "1e5.5", "--", "+", ".", "1-2", "$5", "5%", "True", "1\xa0000", "\ufeff1"],
)  # fmt: skip
def test_what_python_takes_for_a_number_and_people_do_not_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match=r"is not a number$"):
        NUMBER.clean(text)


@pytest.mark.parametrize("value", [True, False, [], {}, b"1", 1j, object()])
def test_what_is_neither_number_nor_text_is_no_number(value: object) -> None:
    with pytest.raises(BadValue, match=r"is not a number$"):
        NUMBER.clean(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, "1e999", 10**400, "9" * 400])
def test_a_number_beyond_the_range_of_floats_is_refused(value: object) -> None:
    with pytest.raises(BadValue, match=r"is not a finite number$"):
        NUMBER.clean(value)


@pytest.mark.parametrize("value", [1.5, "1.5", "-0.1", 1e-9])
def test_an_integer_is_whole(value: object) -> None:
    with pytest.raises(BadValue, match=r"is not a whole number$"):
        INTEGER.clean(value)


@pytest.mark.parametrize("value", [3, 3.0, "3", "3.0", "30e-1"])
def test_a_whole_number_may_be_written_with_a_point(value: object) -> None:
    assert INTEGER.clean(value) == 3


@pytest.mark.parametrize("text", ["1e300", "9223372036854775808", "-1e20"])
def test_an_integer_that_no_integer_column_can_hold_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        INTEGER.clean(text)


def test_zero_has_no_sign() -> None:
    clean = NUMBER.clean("-0")
    assert isinstance(clean, float)
    assert math.copysign(1, clean) == 1


def test_the_limits_themselves_are_allowed() -> None:
    column = Column(type="number", min=0, max=24)
    assert (column.clean(0), column.clean("24")) == (0, 24)
    with pytest.raises(BadValue, match=r"^-0\.5 is below the minimum 0$"):
        column.clean(-0.5)
    with pytest.raises(BadValue, match=r"^'24\.01' is above the maximum 24$"):
        column.clean("24.01")


@pytest.mark.parametrize("column", [NUMBER, INTEGER, CATEGORY])
@pytest.mark.parametrize("value", [None, "", "   ", math.nan])
def test_a_missing_value_needs_a_nullable_column(column: Column, value: object) -> None:
    with pytest.raises(BadValue, match="is missing"):
        column.clean(value)
    assert column.model_copy(update={"nullable": True}).clean(value) is None


def test_only_the_texts_that_the_schema_names_are_missing() -> None:
    column = Column(type="category", nullable=True)
    assert column.clean("NA") == "NA"
    assert column.clean("NA", ("", "NA")) is None
    assert column.clean(" ? ", ("", "?")) is None


def test_a_blank_text_is_missing_whatever_else_is() -> None:
    # data/processed.csv writes a missing value as a blank: a blank category would be read as one.
    assert Column(type="category", nullable=True).clean(" ", ("?",)) is None


@pytest.mark.parametrize("text", ["one\ntwo", "one\r\ntwo", "one\rtwo"])
def test_a_line_break_in_a_category_has_one_form(text: str) -> None:
    assert CATEGORY.clean(text) == "one\ntwo"


@pytest.mark.parametrize("value", [1, 1.5, True, []])
def test_a_category_is_a_text(value: object) -> None:
    with pytest.raises(BadValue, match=r"is not a text$"):
        CATEGORY.clean(value)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(BadValue, match=r"…") as caught:
        NUMBER.clean("x" * 10_000)
    assert len(str(caught.value)) < 100


def test_a_category_that_the_schema_does_not_list_is_told() -> None:
    column = Column(type="category", values=("EU", "NA"))
    assert column.unlisted("Mars")
    assert not column.unlisted("NA")
    assert not column.unlisted(None)
    assert not CATEGORY.unlisted("Mars")


def test_a_value_outside_of_what_training_saw_is_told() -> None:
    number = Column(type="number", nullable=True, seen=Seen(min=0, max=72))
    assert number.unfamiliar(72.0) is None
    assert number.unfamiliar(73.0) == "73 is outside the training range 0 to 72"
    assert number.unfamiliar(-1.0) == "-1 is outside the training range 0 to 72"
    assert number.unfamiliar(None) is None
    category = Column(type="category", seen=Seen(values=("EU", "NA")))
    assert category.unfamiliar("NA") is None
    assert category.unfamiliar("Mars") == "'Mars' was not seen in training"
    assert Column(type="number", seen=Seen()).unfamiliar(5.0) is None


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
        name: 2.0 if column.is_numeric else "Basic" for name, column in columns.items()
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
    assert example == {"n": 2, "plan": "Basic"}
    assert accepted(schema, example)["n"] == 2


def test_a_schema_survives_its_own_json() -> None:
    schema = model_schema(
        n=Column(type="integer", min=0, seen=Seen(min=0, max=9)),
        plan=Column(type="category", values=("Basic", "12"), seen=Seen(values=("12",))),
    )
    text = schema.model_dump_json(exclude_defaults=True)
    assert ModelSchema.model_validate_json(text) == schema
