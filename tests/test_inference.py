"""What a column of texts is taken for."""

import polars as pl
import pytest

from churn.column import Column
from churn.inference import infer, positive_of


def inferred(values: list[str]) -> Column:
    texts = pl.Series("x", values)
    found = infer(texts, texts.cast(pl.Float64, strict=False))
    column = found.column
    for text in values:  # what was inferred reads every value of the column
        column.clean(text) if column.use else None
    return column


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "30"], "integer"),
        (["1.0", "2.0", "30.0"], "integer"),
        (["1", "2.5", "-3e2"], "number"),
        ([" 1 ", "2", "3"], "integer"),
        (["1", "", "3"], "integer"),
        (["9007199254740995", "1", "2"], "number"),
        (["nan", "1", "2"], "integer"),
        (["inf", "a", "b"], "category"),
        (["a", "b", "a"], "category"),
        (["01234", "12345", "23456"], "category"),
        (["1", "2", "x", "y", "z", "w"], "category"),
        (["5%", "x%", "%"], "category"),
        (["2025-01-31", "2024-02-29"], "date"),
        (["31/01/2025", "01/02/2025"], "date"),
        (["01/31/2025", "02/01/2025"], "date"),
        (["2025-01-31 10:00:00", "2024-02-29 23:59:59"], "date"),
        (["2025-01-31", "2024-02-30"], "category"),
        (["2025-01-31", "", "unknown"], "date"),
        (["", " ", ""], "text"),
        ([f"K{n:03d}" for n in range(40)], "identifier"),
        ([f"this is customer {n} speaking" for n in range(40)], "text"),
    ],
)
def test_the_type_of_a_column(values: list[str], kind: str) -> None:
    assert inferred(values).type == kind


@pytest.mark.parametrize(
    ("values", "negative", "positive"),
    [
        (["Yes", "No"], "No", "Yes"),
        (["yes", "NO", "no", "no"], "no", "yes"),
        (["T", "F"], "F", "T"),
        (["VRAI", "FAUX", ""], "FAUX", "VRAI"),
        (["oui", "non"], "non", "oui"),
        (["0", "1"], "0", "1"),
        (["0.0", "1.0"], "0.0", "1.0"),
        (["Y", "N", "?"], "N", "Y"),
        (["on", "off"], "off", "on"),
        (["да", "нет"], "нет", "да"),
    ],
)
def test_a_boolean_in_any_common_spelling(values: list[str], negative: str, positive: str) -> None:
    column = inferred(values)
    assert column.type == "boolean"
    assert column.values == (negative, positive)
    assert column.clean(positive) == 1.0
    assert column.clean(negative) == 0.0
    assert column.nullable is (not {"", "?"}.isdisjoint(values))


@pytest.mark.parametrize(
    ("values", "text", "number"),
    [
        (["1,5", "2", "1000"], "1,5", 1.5),
        (["0,125", "12", "3"], "0,125", 0.125),
        (["1.234,50", "2,00", "12"], "1.234,50", 1234.5),
        (["1.234,50", "7.000"], "7.000", 7000.0),
        (["1,234.50", "2.00"], "1,234.50", 1234.5),
        (["1,234", "56", "999"], "1,234", 1234.0),
        (["1,234", "2,345", "1,200,000"], "1,200,000", 1_200_000.0),
        (["1 234,5", "2,5"], "1 234,5", 1234.5),
        (["1'234.50", "2.00"], "1'234.50", 1234.5),
        (["-3,5", "+4,0"], "-3,5", -3.5),
        (["12.5%", "3 %", ""], "12.5%", 12.5),
        (["$1,234.50", "-$2.00"], "-$2.00", -2.0),
        (["€ 1.234,50", "€2,00"], "€ 1.234,50", 1234.5),
        (["100 EUR", "n/a"], "100 EUR", 100.0),
    ],
)
def test_numbers_as_people_write_them(values: list[str], text: str, number: float) -> None:
    column = inferred(values)
    assert column.type in ("integer", "number")
    assert column.clean(text) == number


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (["1", "?", "2"], ("?",)),
        (["1", "n/a", "NULL"], ("NULL", "n/a")),
        (["1"] * 99 + ["error"], ("error",)),
        (["a", "b", "#N/A"], ("#N/A",)),
        (["NA", "EU", "NA"], ()),
        (["Unknown", "A", "B"], ()),
    ],
)
def test_texts_that_mean_missing(values: list[str], missing: tuple[str, ...]) -> None:
    assert inferred(values).missing_values == missing


@pytest.mark.parametrize(
    ("name", "values", "positive"),
    [
        ("Churn", ("No", "Yes"), "Yes"),
        ("Exited", ("1", "0"), "1"),
        ("left", ("F", "T"), "T"),
        ("Résilié", ("VRAI", "FAUX"), "VRAI"),
        ("y", ("-1", "1"), "1"),
        ("flag", ("Existing Customer", "Attrited Customer"), "Attrited Customer"),
        ("status", ("active", "whatever"), "whatever"),
        ("status", ("churned", "other"), "churned"),
        ("status", ("A", "B"), None),
        ("group", ("1", "2"), None),
        ("retained", ("Yes", "No"), None),
    ],
)
def test_the_positive_class_where_it_is_obvious(
    name: str, values: tuple[str, str], positive: str | None
) -> None:
    assert positive_of(name, values) == positive
    assert positive_of(name, values[::-1]) == positive
