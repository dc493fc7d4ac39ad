"""Segments: the groups of a column's values, each scored on its own."""

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn import metrics
from churn.column import Column, fold
from churn.metrics import Intervals
from churn.resampling import Labels, Probabilities
from churn.schema import Schema

MISSING, OTHERS = "(missing)", "(others)"
LARGEST = 12
"""The groups of a column that are scored one by one; smaller ones are scored together."""

# MLflow 3.17 takes metric names of up to 250 letters, digits, spaces and / _ . - that are also the
# normal form of a path. (A colon is allowed too, but not on Windows.)
_NOT_ALLOWED = re.compile(r"[^\w.\- ]")
_LONGEST = 100
_QUARTILES = (0.25, 0.5, 0.75)
_MEASURED = ("f1", "precision", "recall", "roc_auc")
_WITH_INTERVAL = ("f1", "roc_auc")


@dataclass(frozen=True)
class Segment:
    """The test rows of one group: `column` is a feature and `group` its value, its range, MISSING
    or OTHERS. `predicted` is the mean probability, 0 to 1.

    `scores` holds f1, precision, recall and roc_auc, and `intervals` those of f1 and roc_auc, but
    not what cannot be said: a group of one class has no roc_auc, and one without positives nothing.
    """

    column: str
    group: str
    key: str
    rows: int
    positives: int
    predicted: float
    scores: dict[str, float]
    intervals: Intervals

    @property
    def name(self) -> str:
        return f"{self.column} = {self.group}"

    @property
    def positive_rate(self) -> float:
        return self.positives / self.rows


def known(names: Iterable[str], schema: Schema) -> tuple[tuple[str, ...], list[str]]:
    """The names that are features, and a warning for each one that is not.

    A column that has left the table is no reason to stop a pipeline that has trained already.
    """
    names = tuple(names)
    warnings = [
        f"params.yaml: evaluate.segments names {name!r}, which is not a feature and is left out"
        f" (features: {', '.join(schema.features)})"
        for name in names
        if name not in schema.used
    ]
    return tuple(name for name in names if name in schema.used), warnings


def evaluate(
    names: Iterable[str],
    schema: Schema,
    features: pd.DataFrame,
    target: Labels,
    probabilities: Probabilities,
    threshold: float,
    seed: int,
) -> list[Segment]:
    """Score each group of each named feature; all rows of a feature are in one of its groups."""
    names = list(names)
    found = []
    for name, column_key in zip(names, unique_keys(names), strict=True):
        groups = split(features[name], schema.used[name])
        for (group, inside), key in zip(groups, unique_keys(g for g, _ in groups), strict=True):
            scores, intervals = _scored(target[inside], probabilities[inside], threshold, seed)
            segment = Segment(
                column=name,
                group=group,
                key=f"segment/{column_key}/{key}",
                rows=int(inside.sum()),
                positives=int(target[inside].sum()),
                predicted=float(probabilities[inside].mean()),
                scores=scores,
                intervals=intervals,
            )
            found.append(segment)
    return found


def flat(segments: list[Segment]) -> dict[str, float]:
    """The segments as one flat object of metrics by names that MLflow takes:
    segment/<column>/<group>/<metric>."""
    reported: dict[str, float] = {}
    for segment in segments:
        measured = {
            "rows": float(segment.rows),
            "positive_rate": segment.positive_rate,
            "predicted_rate": segment.predicted,
            **segment.scores,
            **metrics.flat(segment.intervals),
        }
        reported |= {f"{segment.key}/{name}": value for name, value in measured.items()}
    return reported


def split(values: pd.Series, column: Column) -> list[tuple[str, NDArray[np.bool_]]]:
    """The groups of the values by their names, each with its rows as a mask; none is empty.

    A number and a date are split at the quartiles of these very values, into fewer groups where
    many are equal, and into their values where there are no more than four. Other types are split
    into their values, the largest first. Missing values are a group of their own.
    """
    missing = values.isna().to_numpy()
    present = values[~missing]
    measured = column.is_numeric and column.type != "boolean"
    codes, names = _by_quartile(present, column) if measured else _by_value(present, column)
    number = np.full(len(values), -1)
    number[~missing] = codes
    groups = [(name, number == code) for code, name in enumerate(names)]
    return [*groups, (MISSING, missing)] if missing.any() else groups


def unique_keys(names: Iterable[str]) -> list[str]:
    """A part of a metric's name for each of the names, in their order: what MLflow does not take
    becomes `_`, and where two would be the same, one gets some digits of its hash.

    Two that differ only in case, accents or spaces count as the same: MLflow's database may take
    them so. A name that needs no change keeps it, whatever the others are.
    """
    names = list(names)
    plain = [_sanitized(name) for name in names]
    keys = [""] * len(names)
    taken: set[str] = set()
    for index in sorted(range(len(names)), key=lambda index: plain[index] != names[index]):
        key, attempt = plain[index], 0
        while fold(key) in taken:
            digest = hashlib.blake2b(f"{attempt} {names[index]}".encode(), digest_size=4)
            key, attempt = f"{plain[index]} {digest.hexdigest()}", attempt + 1
        taken.add(fold(key))
        keys[index] = key
    return keys


def _sanitized(name: str) -> str:
    key = _NOT_ALLOWED.sub("_", name)[:_LONGEST].strip()
    return key if key.strip(".") else "_" * max(len(key), 1)


def _by_value(present: pd.Series, column: Column) -> tuple[NDArray[np.intp], list[str]]:
    counts = present.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    known = list(counts.index)
    codes = pd.Index(known).get_indexer(pd.Index(present)).astype(np.intp)
    names = [str(column.given(value)) for value in known[:LARGEST]]
    if len(known) > LARGEST:
        names.append(OTHERS)
    return np.minimum(codes, LARGEST), names


def _by_quartile(present: pd.Series, column: Column) -> tuple[NDArray[np.intp], list[str]]:
    values = present.to_numpy(np.float64)
    if not len(values):
        return np.zeros(0, np.intp), []
    distinct = np.unique(values)
    edges = distinct
    if len(distinct) > len(_QUARTILES) + 1:
        edges = np.unique(np.quantile(values, _QUARTILES, method="inverted_cdf"))
    _, codes = np.unique(np.searchsorted(edges, values), return_inverse=True)
    groups = [values[codes == code] for code in range(codes.max() + 1)]
    return codes, [_range(group.min(), group.max(), column) for group in groups]


def _range(low: float, high: float, column: Column) -> str:
    ends = [column.shown(float(end)) for end in (low, high)]
    return ends[0] if low == high else " to ".join(ends)


def _scored(
    target: Labels, probabilities: Probabilities, threshold: float, seed: int
) -> tuple[dict[str, float], Intervals]:
    if not target.any():
        return {}, {}
    scores = metrics.score(target, probabilities, threshold)
    said = [name for name in _MEASURED if not math.isnan(scores[name])]
    found = metrics.intervals(target, probabilities, threshold, seed)
    return (
        {name: scores[name] for name in said},
        {name: found[name] for name in _WITH_INTERVAL if name in said},
    )
