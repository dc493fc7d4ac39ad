import pandas as pd
import pytest

from churn import dataset
from churn.column import Column
from churn.schema import Schema
from churn.settings import Data

SCHEMA = Schema(
    columns={
        "months": Column(type="integer", nullable=True, note="since the contract began"),
        "paperless": Column(type="boolean", values=("No", "Yes")),
        "since": Column(type="date", format="%Y-%m-%d"),
        "city": Column(type="category"),
        "empty": Column(type="number", nullable=True),
        "comment": Column(type="text", use=False, note="free text"),
        "row": Column(type="identifier", use=False),
    }
)


def table(months: list[float | None], cities: list[str]) -> pd.DataFrame:
    rows = len(months)
    return pd.DataFrame(
        {
            "months": pd.Series(months, dtype="float64"),
            "paperless": 1.0,
            "since": [float(day) for day in range(rows)],
            "city": pd.Series(cities, dtype="str"),
            "empty": pd.Series([None] * rows, dtype="float64"),
        }
    )


def test_a_feature_is_described_as_training_saw_it_and_missing_as_both_splits_hold_it() -> None:
    train = table([3, None, 12, 5], ["Rome", "Oslo", "Rome", "Bonn"])
    test = table([99, None], ["Lima", "Lima"])
    months, paperless, since, city, empty = dataset.features(SCHEMA, train, test)
    assert (months.type, months.note) == ("integer", "since the contract began")
    assert (months.seen, months.missing, months.varies) == ("3 to 12", 2 / 6, True)
    assert (paperless.seen, paperless.varies) == ("Yes", False)
    assert since.seen == "1970-01-01 to 1970-01-04"
    assert city.seen == "Rome, Oslo, Bonn"
    assert (empty.seen, empty.missing, empty.varies) == ("nothing", 1, False)


def test_of_many_categories_the_most_frequent_are_named() -> None:
    cities = [f"city {number}" for number in range(20)] + ["city 7"]
    train = table([1.0] * 21, cities)
    city = dataset.features(SCHEMA, train, train)[3]
    assert city.seen.startswith("city 7, ")
    assert city.seen.endswith(" and 14 more")
    assert city.seen.count(",") == 5


def test_the_id_dropped_columns_and_unused_ones_are_excluded_with_their_reason() -> None:
    data = Data(source="sample", target="churn", positive="1", drop=("notes",), id="customer")
    found = {column.name: column.why for column in dataset.excluded(SCHEMA, data)}
    assert found == {
        "customer": "identifies a customer (data.id)",
        "notes": "named in data.drop",
        "comment": "free text",
        "row": "a column of type identifier with `use: no`; no note",
    }
    unnamed = Data(source="sample", target="churn", positive="1")
    assert [column.name for column in dataset.excluded(SCHEMA, unnamed)] == ["comment", "row"]


def test_a_split_is_counted() -> None:
    split = dataset.split(pd.Series([1, 0, 0, 1, 0]))
    assert (split.rows, split.positives, split.positive_rate) == (5, 2, 0.4)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("sample", "the built-in sample"),
        ("customers.csv", "customers.csv"),
        ("/home/anna/secret/customers.csv", "customers.csv"),
        (r"C:\Users\anna\customers.csv", "customers.csv"),
        ("https://anna:hunter2@host.example/a/b.csv", "https://host.example/a/b.csv"),
        ("https://host.example:8443/a.csv?sig=hunter2#x", "https://host.example:8443/a.csv"),
        ("SELECT * FROM t WHERE key = 'hunter2'", "an SQL query"),
        ("with a as (select 'hunter2') select * from a", "an SQL query"),
    ],
)
def test_the_source_is_named_without_what_may_be_secret(given: str, shown: str) -> None:
    assert dataset.source(given) == shown
