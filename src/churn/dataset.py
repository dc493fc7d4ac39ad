"""What a model was made from, as a person reads it: the splits, the features, the columns that were
left out and why, and the source."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import pandas as pd

from churn.column import Column
from churn.schema import Schema
from churn.settings import Data
from churn.source import SAMPLE, is_query

_SHOWN_VALUES = 6


@dataclass(frozen=True)
class Feature:
    """A feature as its table holds it: what training saw, the share of missing values, 0 to 1, in
    both splits, and whether the train split has more than one value of it."""

    name: str
    type: str
    note: str
    seen: str
    missing: float
    varies: bool


@dataclass(frozen=True)
class Excluded:
    """A column that is no feature, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Split:
    """How many rows a split has, and how many of them are positive."""

    rows: int
    positives: int

    @property
    def positive_rate(self) -> float:
        return self.positives / self.rows


def split(target: pd.Series) -> Split:
    """The size of a split with this target, 0 or 1."""
    return Split(len(target), int(target.sum()))


def features(schema: Schema, train: pd.DataFrame, test: pd.DataFrame) -> list[Feature]:
    """The features as the two splits hold them."""
    rows = len(train) + len(test)
    return [
        Feature(
            name=name,
            type=column.type,
            note=column.note,
            seen=_seen(train[name], column),
            missing=float(train[name].isna().sum() + test[name].isna().sum()) / rows,
            varies=train[name].nunique(dropna=False) > 1,
        )
        for name, column in schema.used.items()
    ]


def excluded(schema: Schema, data: Data) -> list[Excluded]:
    """The columns of the table that are neither features nor the target, each with its reason."""
    found = [] if data.id is None else [Excluded(data.id, "identifies a customer (data.id)")]
    found += [Excluded(name, "named in data.drop") for name in data.drop]
    return found + [
        Excluded(name, column.note or f"a column of type {column.type} with `use: no`; no note")
        for name, column in schema.columns.items()
        if not column.use
    ]


def source(given: str) -> str:
    """Where the data comes from, without what may be secret: of an address neither user nor query,
    of a path no folder, of a query nothing."""
    if given == SAMPLE:
        return "the built-in sample"
    if is_query(given):
        return "an SQL query"
    if re.match(r"[a-z][a-z0-9+.-]*://", given, re.IGNORECASE):
        parts = urlsplit(given)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"
    return re.split(r"[/\\]", given)[-1]


def _seen(values: pd.Series, column: Column) -> str:
    """The range of the numbers, or the most frequent values."""
    present = values.dropna()
    if present.empty:
        return "nothing"
    if column.is_numeric and column.type != "boolean":
        return " to ".join(column.shown(float(end)) for end in (present.min(), present.max()))
    counts = present.value_counts()
    shown = ", ".join(str(column.given(value)) for value in counts.index[:_SHOWN_VALUES])
    rest = len(counts) - _SHOWN_VALUES
    return f"{shown} and {rest:,} more" if rest > 0 else shown
