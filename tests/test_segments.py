import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name
from numpy.typing import NDArray

from churn import metrics, segments
from churn.column import Column, fold
from churn.schema import Schema
from churn.segments import MISSING, OTHERS, Segment

examples = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NUMBER = Column(type="number", nullable=True)
INTEGER = Column(type="integer", nullable=True)
CATEGORY = Column(type="category", nullable=True)
BOOLEAN = Column(type="boolean", values=("No", "Yes"), nullable=True)
DATE = Column(type="date", format="%Y-%m-%d", nullable=True)

Group = tuple[str, int]


def sizes(values: Sequence[float | str | None], column: Column) -> list[Group]:
    """The name and size of each group, in their order."""
    series = pd.Series(list[Any](values), dtype="float64" if column.is_numeric else "str")
    return [(name, int(inside.sum())) for name, inside in segments.split(series, column)]


# How a column is split


def test_a_category_is_split_into_its_values_the_largest_first() -> None:
    values = ["EU", "NA", "EU", None, "LATAM", "NA", "EU"]
    assert sizes(values, CATEGORY) == [("EU", 3), ("NA", 2), ("LATAM", 1), (MISSING, 1)]


def test_a_boolean_is_split_into_its_words() -> None:
    assert sizes([1, 0, 0, None], BOOLEAN) == [("No", 2), ("Yes", 1), (MISSING, 1)]


def test_a_number_is_split_at_its_quartiles() -> None:
    assert sizes([float(n) for n in range(100)], INTEGER) == [
        ("0 to 24", 25),
        ("25 to 49", 25),
        ("50 to 74", 25),
        ("75 to 99", 25),
    ]
    assert sizes([n / 8 for n in range(8)], NUMBER) == [
        ("0 to 0.125", 2),
        ("0.25 to 0.375", 2),
        ("0.5 to 0.625", 2),
        ("0.75 to 0.875", 2),
    ]


def test_a_date_is_split_at_its_quartiles() -> None:
    assert sizes([float(n) for n in range(8)], DATE) == [
        ("1970-01-01 to 1970-01-02", 2),
        ("1970-01-03 to 1970-01-04", 2),
        ("1970-01-05 to 1970-01-06", 2),
        ("1970-01-07 to 1970-01-08", 2),
    ]


def test_a_number_with_few_values_is_split_into_them() -> None:
    assert sizes([0, 0, 0, 0, 0, 0, 0, 1, 2], INTEGER) == [("0", 7), ("1", 1), ("2", 1)]
    assert sizes([3], INTEGER) == [("3", 1)]
    assert sizes([None, None], INTEGER) == [(MISSING, 2)]


def test_a_number_with_one_frequent_value_has_fewer_groups() -> None:
    values = [0.0] * 80 + [float(n) for n in range(1, 21)]
    assert sizes(values, INTEGER) == [("0", 80), ("1 to 20", 20)]


def test_beyond_the_twelve_largest_groups_the_rest_is_one() -> None:
    values: list[str] = []
    for number in range(20):
        values += [f"city {number:02d}"] * (30 - number)
    found = sizes(values, CATEGORY)
    assert [name for name, _ in found] == [*(f"city {n:02d}" for n in range(12)), OTHERS]
    assert found[-1] == (OTHERS, sum(30 - number for number in range(12, 20)))


CELLS: dict[str, tuple[Column, st.SearchStrategy[float | str]]] = {
    "number": (NUMBER, st.floats(-1e6, 1e6)),
    "integer": (INTEGER, st.integers(-5, 5).map(float)),
    "category": (CATEGORY, st.text(max_size=2).filter(bool)),
    "boolean": (BOOLEAN, st.sampled_from([0.0, 1.0])),
    "date": (DATE, st.integers(0, 40_000).map(float)),
}


@examples
@given(st.data())
@pytest.mark.parametrize("kind", CELLS)
def test_every_row_is_in_exactly_one_group_and_no_group_is_empty(
    kind: str, data: st.DataObject
) -> None:
    column, cells = CELLS[kind]
    values = data.draw(st.lists(cells | st.none(), min_size=1, max_size=60))
    series = pd.Series(values, dtype="float64" if column.is_numeric else "str")
    groups = segments.split(series, column)
    masks = np.array([inside for _, inside in groups])
    assert (masks.sum(axis=0) == 1).all()
    assert masks.any(axis=1).all()
    assert len(groups) <= segments.LARGEST + 2


# Names for MLflow


def valid_for_mlflow(key: str) -> bool:
    _validate_metric_name(key)
    return len(key) <= 250


HOSTILE = st.one_of(
    st.text(min_size=1),
    st.sampled_from(["a/b", "a_b", "A_B", "..", ".", "/", " ", "a b", "a\nb", "é", "e", "ﾞ", "€"]),
    st.text("ab/_. ", min_size=90, max_size=300),
)


@examples
@given(st.lists(HOSTILE, max_size=14, unique=True), HOSTILE)
def test_names_of_metrics_are_unique_and_mlflow_takes_them(names: list[str], column: str) -> None:
    (column_key,) = segments.unique_keys([column])
    keys = segments.unique_keys(names)
    assert len({fold(key) for key in keys}) == len(names)
    assert all(valid_for_mlflow(f"segment/{column_key}/{key}/positive_rate") for key in keys)


def test_a_name_that_needs_no_change_keeps_it_whatever_the_others_are() -> None:
    assert segments.unique_keys(["Month-to-month", "25 to 49", "a.b_c"]) == [
        "Month-to-month",
        "25 to 49",
        "a.b_c",
    ]
    changed, plain = segments.unique_keys(
        ["Bank transfer (automatic)", "Bank transfer _automatic_"]
    )
    assert plain == "Bank transfer _automatic_"
    assert changed.startswith("Bank transfer _automatic_ ")
    assert segments.unique_keys([MISSING]) == ["_missing_"]


def test_two_groups_of_the_same_name_have_two_keys() -> None:
    keys = segments.unique_keys([OTHERS, OTHERS, OTHERS])
    assert len(set(keys)) == 3


# Scores of the groups


@pytest.fixture(scope="module")
def table() -> tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.float64]]:
    """600 customers, of whom nobody in `calm` and everybody in `lost` leaves."""
    rng = np.random.default_rng(0)
    features = pd.DataFrame(
        {
            "plan": pd.Series(rng.choice(["a", "b", "calm", "lost"], 600), dtype="str"),
            "months": rng.integers(0, 50, 600).astype(float),
        }
    )
    probabilities = rng.beta(0.8, 1.8, 600)
    target = (rng.random(600) < probabilities).astype(np.int64)
    target[features["plan"] == "calm"] = 0
    target[features["plan"] == "lost"] = 1
    return features, target, probabilities


SCHEMA = Schema(columns={"plan": CATEGORY, "months": INTEGER})


@pytest.fixture(scope="module")
def found(
    table: tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.float64]],
) -> dict[str, Segment]:
    scored = segments.evaluate(["plan", "months"], SCHEMA, *table, 0.4, 1)
    return {segment.name: segment for segment in scored}


def test_a_segment_has_the_scores_of_its_rows(
    table: tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.float64]], found: dict[str, Segment]
) -> None:
    features, target, probabilities = table
    inside = (features["plan"] == "a").to_numpy()
    segment = found["plan = a"]
    scores = metrics.score(target[inside], probabilities[inside], 0.4)
    assert segment.scores == {
        name: scores[name] for name in ("f1", "precision", "recall", "roc_auc")
    }
    assert segment.rows == inside.sum()
    assert segment.positive_rate == pytest.approx(target[inside].mean())
    assert segment.predicted == pytest.approx(probabilities[inside].mean())
    for name, (low, high) in segment.intervals.items():
        assert low < segment.scores[name] < high
    assert segment.intervals.keys() == {"f1", "roc_auc"}


def test_what_cannot_be_said_of_a_segment_is_left_out(found: dict[str, Segment]) -> None:
    assert found["plan = calm"].scores == {}
    assert found["plan = calm"].intervals == {}
    assert found["plan = lost"].scores.keys() == {"f1", "precision", "recall"}
    assert found["plan = lost"].scores["precision"] == 1
    assert found["plan = lost"].intervals.keys() == {"f1"}


def test_the_segments_become_one_flat_object_of_finite_numbers(found: dict[str, Segment]) -> None:
    flat = segments.flat(list(found.values()))
    json.dumps(flat, allow_nan=False)
    assert all(type(value) is float and math.isfinite(value) for value in flat.values())
    assert flat["segment/plan/a/rows"] == found["plan = a"].rows
    assert flat["segment/plan/a/roc_auc_low"] == found["plan = a"].intervals["roc_auc"][0]
    first = next(segment for segment in found.values() if segment.column == "months")
    assert "segment/plan/calm/rows" in flat
    assert "segment/plan/calm/roc_auc" not in flat
    assert f"segment/months/{first.group}/f1" in flat
    for column in ("plan", "months"):
        rows = [flat[key] for key in flat if key.startswith(f"segment/{column}/") and "rows" in key]
        assert sum(rows) == 600


def test_no_segments_are_no_metrics(
    table: tuple[pd.DataFrame, NDArray[np.int64], NDArray[np.float64]],
) -> None:
    assert segments.evaluate([], SCHEMA, *table, 0.4, 1) == []
    assert segments.flat([]) == {}


def test_a_column_that_is_no_feature_is_left_out_with_a_warning() -> None:
    assert segments.known(["plan", "months"], SCHEMA) == (("plan", "months"), [])
    kept, (warning,) = segments.known(["plan", "mouths"], SCHEMA)
    assert kept == ("plan",)
    assert "evaluate.segments names 'mouths', which is not a feature" in warning
    assert "(features: plan, months)" in warning
