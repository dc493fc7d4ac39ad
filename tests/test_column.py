import math
import re
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.column import BadValue, Column, Seen, Value

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


# Booleans, dates, and numbers as people write them

FLAG = Column(type="boolean", values=("FAUX", "VRAI"), nullable=True)
DATE = Column(type="date", format="%d.%m.%Y")


@pytest.mark.parametrize("value", ["VRAI", " vrai ", "Vrai", True, 1, 1.0, "1"])
def test_a_boolean_may_be_said_in_words_or_in_json(value: object) -> None:
    assert FLAG.clean(value) == 1.0


@pytest.mark.parametrize("value", ["yes", 2, 0.5, [], {}, "VRAIMENT", math.inf])
def test_what_is_neither_of_a_booleans_words_is_refused(value: object) -> None:
    with pytest.raises(BadValue, match=r"is neither 'FAUX' nor 'VRAI'$"):
        FLAG.clean(value)


def test_a_boolean_of_numbers_is_the_second_of_them() -> None:
    column = Column(type="boolean", values=("1", "2"))
    assert [column.clean(value) for value in ("1", "2", 1, 2)] == [0.0, 1.0, 0.0, 1.0]


def test_a_date_is_its_days_since_1970() -> None:
    assert DATE.clean("01.01.1970") == 0.0
    assert DATE.clean("31.12.2025") == 20453.0
    assert Column(type="date", format="%Y-%m-%dT%H:%M:%S").clean("1970-01-02T12:00:00") == 1.5


@pytest.mark.parametrize("value", ["2025-12-31", "31.02.2025", "", 20453, True])
def test_what_is_no_date_of_the_format_is_refused(value: object) -> None:
    with pytest.raises(BadValue):
        DATE.clean(value)


@examples
@given(st.dates())
def test_a_date_is_given_as_it_came(day: date) -> None:
    column = Column(type="date", format="%Y-%m-%d")
    text = f"{day:%Y-%m-%d}".zfill(10)
    assert column.given(column.clean(text)).zfill(10) == text


@pytest.mark.parametrize("value", ["FAUX", "VRAI", None])
def test_a_boolean_is_given_in_its_words(value: str | None) -> None:
    assert FLAG.given(FLAG.clean(value)) == value


@pytest.mark.parametrize(
    ("decimal", "thousands", "text", "number"),
    [
        (",", "", "12,5", 12.5),
        (",", "", "1e3", 1000.0),
        (",", ".", "1.234.567,8", 1234567.8),
        (".", ",", "-1,234", -1234.0),
        (".", "'", "1'000", 1000.0),
        (",", " ", "1 000", 1000.0),
    ],
)
def test_a_number_with_other_signs(decimal: str, thousands: str, text: str, number: float) -> None:
    column = Column.model_validate({"type": "number", "decimal": decimal, "thousands": thousands})
    assert column.clean(text) == number
    assert column.clean(number) == number


@pytest.mark.parametrize(
    ("thousands", "text"), [("", "1.5"), (".", "1.5"), (".", "12.34.567"), (".", "1,234,5")]
)
def test_a_sign_in_another_place_is_refused(thousands: str, text: str) -> None:
    column = Column.model_validate({"type": "number", "decimal": ",", "thousands": thousands})
    with pytest.raises(BadValue, match="is not a number"):
        column.clean(text)


@pytest.mark.parametrize("value", ["-1", "-1.0", " -1 ", -1, -1.0, "n/a"])
def test_a_columns_own_missing_values(value: object) -> None:
    column = Column(type="number", min=0, missing_values=("-1", "n/a"), nullable=True)
    assert column.clean(value) is None
    with pytest.raises(BadValue, match="is missing"):
        column.model_copy(update={"nullable": False}).clean(value)


def test_a_folded_category_is_recognised_in_any_spelling() -> None:
    column = Column(type="category", values=("São Paulo", "NA"), fold=True)
    assert column.clean(" SAO  paulo") == "São Paulo"
    assert column.clean("na") == "NA"
    assert column.clean("Rio") == "Rio"
    assert column.unlisted("Rio")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"type": "text"}, "a column of type text is no feature: it needs `use: no`"),
        ({"type": "boolean"}, "a boolean needs two `values`"),
        ({"type": "boolean", "values": ["Yes", "YES"]}, "a boolean needs two `values`"),
        ({"type": "date"}, "a date needs a `format`"),
        ({"type": "date", "format": "%Y", "min": 1}, "a column of type date has no `min`"),
        ({"type": "number", "decimal": ",", "thousands": ","}, "are both ','"),
        ({"type": "category", "fold": True}, "fold needs a category with its `values`"),
        ({"type": "number", "missing_rate": 2}, "less than or equal to 1"),
    ],
)
def test_a_column_that_says_nonsense_is_refused(keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        Column.model_validate(keys)
