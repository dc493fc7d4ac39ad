"""How clean values become the numbers that a compiled model takes: one segment of them a column.

A number's segment is the number itself and then constants, such as 0 for "was not missing"; a
category's is looked up, and holds what the fitted pipeline makes of it. The segments of a row, one
after the other, are its vector; `width` floats.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from churn.column import Value

Segment = tuple[float, ...]


@dataclass(frozen=True)
class NumberSegments:
    """A numeric column: its value, if the model takes it at all, followed by `present`; or
    `missing`. All of one length."""

    taken: bool
    present: Segment
    missing: Segment

    @property
    def width(self) -> int:
        return len(self.missing)

    def of(self, value: Value) -> Segment:
        if value is None:
            return self.missing
        return (value, *self.present) if self.taken else ()  # type: ignore[arg-type]

    def fill(self, place: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Write the segments of `values`, NaN where missing, into `place`, shape (rows, width)."""
        if not self.taken:
            return
        place[:, 0] = values
        place[:, 1:] = self.present
        missing = np.isnan(values)
        if missing.any():
            place[missing] = self.missing


@dataclass(frozen=True)
class CategorySegments:
    """A categorical column: a segment for each value that training saw, one for all others, and one
    for missing. All of one length."""

    known: dict[str, Segment]
    unknown: Segment
    missing: Segment

    @property
    def width(self) -> int:
        return len(self.missing)

    def of(self, value: Value) -> Segment:
        if value is None:
            return self.missing
        return self.known.get(value, self.unknown)  # type: ignore[arg-type]

    @cached_property
    def codes(self) -> dict[str, int]:
        """The number of each known value; `len(known)` is any other, and one more is missing."""
        return {value: code for code, value in enumerate(self.known)}

    @cached_property
    def _table(self) -> NDArray[np.float64]:
        return np.array([*self.known.values(), self.unknown, self.missing], dtype=np.float64)

    def fill(self, place: NDArray[np.float64], codes: NDArray[np.integer[Any]]) -> None:
        """Write the segments of the `codes` into `place`, shape (rows, width)."""
        place[:] = self._table[codes]


@dataclass(frozen=True)
class Encoding:
    """The segments of each feature, in the order of the model's schema."""

    columns: Mapping[str, NumberSegments | CategorySegments]

    @cached_property
    def width(self) -> int:
        return sum(column.width for column in self.columns.values())

    def vector(self, row: Mapping[str, Value]) -> list[float]:
        """The vector of one clean row."""
        found: list[float] = []
        for name, column in self.columns.items():
            found += column.of(row[name])
        return found

    def matrix(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """The vectors of many clean rows, shape (rows, width): of each numeric feature its values,
        NaN where missing, and of each categorical one its codes."""
        rows = len(next(iter(columns.values())))
        vectors = np.empty((rows, self.width))
        at = 0
        for name, column in self.columns.items():
            column.fill(vectors[:, at : at + column.width], columns[name])
            at += column.width
        return vectors

    def as_json(self) -> dict[str, Any]:
        return {name: _written(column) for name, column in self.columns.items()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Encoding":
        """The encoding that as_json() wrote. Raises KeyError, TypeError or ValueError for another
        text."""
        return cls({name: _read(entry) for name, entry in found.items()})


def _written(column: NumberSegments | CategorySegments) -> dict[str, Any]:
    if isinstance(column, NumberSegments):
        return {"taken": column.taken, "present": column.present, "missing": column.missing}
    known = {value: _sparse(segment) for value, segment in column.known.items()}
    return {
        "width": column.width,
        "known": known,
        "unknown": _sparse(column.unknown),
        "missing": _sparse(column.missing),
    }


def _read(entry: Mapping[str, Any]) -> NumberSegments | CategorySegments:
    if "taken" in entry:
        present, missing = tuple(entry["present"]), tuple(entry["missing"])
        return NumberSegments(bool(entry["taken"]), present, missing)
    width = int(entry["width"])
    known = {value: _dense(segment, width) for value, segment in entry["known"].items()}
    return CategorySegments(known, _dense(entry["unknown"], width), _dense(entry["missing"], width))


def _sparse(segment: Segment) -> list[tuple[int, float]]:
    """Of a category among hundreds all but one or two numbers are 0."""
    return [(at, value) for at, value in enumerate(segment) if value != 0]


def _dense(pairs: list[tuple[int, float]], width: int) -> Segment:
    segment = [0.0] * width
    for at, value in pairs:
        segment[at] = float(value)
    return tuple(segment)
