"""One row of a request: held to the model's schema, cleaned and encoded, in one pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from churn.column import NUMBERS, BadValue, Column, Value, short
from churn.encoding import CategorySegments, Encoding, Segment
from churn.schema import ModelSchema

Problem = dict[str, Any]
"""An entry of a 422: `loc` (the field), `msg` (what is wrong) and `type` (the kind)."""


class BadRow(ValueError):
    """A row that the model's schema does not allow; `problems` has an entry for each field."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{each['loc'][-1]} {each['msg']}" for each in problems))
        self.problems = problems


@dataclass(frozen=True)
class _Field:
    """How a usual value of a column is recognised: one that needs no cleaning and no warning."""

    name: str
    lookup: dict[Any, Segment] | None
    kinds: tuple[type, ...]
    low: float
    high: float
    missing: frozenset[float]
    taken: bool
    present: Segment


class RowReader:
    """Reads the rows of requests for one model. Safe to use from several threads.

    A usual row (known categories, numbers within the training range) takes a lookup or two
    comparisons a field; in any other each value goes through Column.clean(), as a table's do.
    """

    def __init__(self, schema: ModelSchema, encoding: Encoding) -> None:
        self.schema = schema
        self.encoding = encoding
        self._columns = schema.used
        # Tuples, because a dataclass's attributes take longer to read.
        self._fields = tuple(
            tuple(vars(self._field(name, column)).values())
            for name, column in self._columns.items()
        )

    def read(self, given: dict[str, Any]) -> tuple[list[float], list[str]]:
        """The vector of the row, and a warning for each value that training did not see.

        Raises BadRow.
        """
        if type(given) is not dict or len(given) != len(self._fields):
            return self._read_closely(given)
        vector: list[float] = []
        try:
            for name, lookup, kinds, low, high, missing, taken, present in self._fields:
                value = given[name]
                if lookup is not None:
                    vector += lookup[value]
                elif type(value) in kinds and low <= value <= high and value not in missing:
                    if taken:
                        vector.append(value)
                        vector += present
                else:
                    return self._read_closely(given)
        except (KeyError, TypeError):  # a field that is missing, a value that is no key
            return self._read_closely(given)
        return vector, []

    def read_many(
        self, rows: list[Any]
    ) -> tuple[NDArray[np.float64], list[list[str]], dict[int, list[Problem]]]:
        """The vectors of the good rows, shape (good rows, width), and the warnings of each; and
        what is wrong with each bad row, by its index."""
        quick = self._read_columns(rows)
        if quick is not None:
            return quick, [[]] * len(rows), {}
        vectors: list[float] = []
        warnings = []
        bad = {}
        for index, given in enumerate(rows):
            try:
                vector, said = self.read(given)
            except BadRow as error:
                bad[index] = error.problems
            else:
                vectors += vector
                warnings.append(said)
        shape = (len(warnings), self.encoding.width)
        return np.array(vectors, dtype=np.float64).reshape(shape), warnings, bad

    def _read_columns(self, rows: list[Any]) -> NDArray[np.float64] | None:
        """The vectors of rows that are all usual, column by column; None where one is not."""
        count = len(self._fields)
        if not rows or any(type(row) is not dict or len(row) != count for row in rows):
            return None
        parts = []
        try:
            for name, lookup, kinds, low, high, missing, taken, present in self._fields:
                values = [row[name] for row in rows]
                if lookup is not None:
                    parts.append(np.array([lookup[value] for value in values], dtype=np.float64))
                    continue
                if not set(map(type, values)) <= set(kinds):
                    return None
                numbers = np.array(values, dtype=np.float64)
                usual = (low <= numbers) & (numbers <= high)
                if not usual.all() or (missing and np.isin(numbers, list(missing)).any()):
                    return None
                if taken:
                    parts.append(numbers[:, np.newaxis])
                    parts.append(np.broadcast_to(present, (len(rows), len(present))))
        except (KeyError, TypeError, OverflowError):
            return None
        return np.concatenate(parts, axis=1)

    def clean(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """The clean values of the row. Raises BadRow, which names all that is wrong."""
        if not isinstance(given, dict):
            raise BadRow([_problem("row", "should be a JSON object", "dict_type")])
        row: dict[str, Value] = {}
        problems = []
        for name, column in self._columns.items():
            if name not in given:
                problems.append(_problem(name, "is missing", "missing"))
                continue
            try:
                row[name] = _clean(column, given[name], self.schema.missing_values)
            except BadValue as error:
                problems.append(_problem(name, str(error), "value_error"))
        problems += [
            _problem(name, "is not a feature of this model", "extra_forbidden")
            for name in given
            if name not in self._columns
        ]
        if problems:
            raise BadRow(problems)
        return row

    def _read_closely(self, given: Mapping[str, Any]) -> tuple[list[float], list[str]]:
        row = self.clean(given)
        return self.encoding.vector(row), self.schema.unfamiliar(row)

    def _field(self, name: str, column: Column) -> _Field:
        segments = self.encoding.columns[name]
        if isinstance(segments, CategorySegments):
            return _Field(name, segments.known, (), 0, 0, frozenset(), True, ())
        low, high = 1.0, 0.0  # nothing is usual
        if column.seen and column.seen.min is not None and column.seen.max is not None:
            low, high = column.seen.min, column.seen.max
        if column.type == "boolean":
            words = {False: 0.0, True: 1.0, column.values[0]: 0.0, column.values[1]: 1.0}
            lookup = {word: segments.of(v) for word, v in words.items() if low <= v <= high}
            return _Field(name, lookup, (), 0, 0, frozenset(), True, ())
        kinds: tuple[type, ...] = ()  # a date is a text to be read
        if column.type in NUMBERS:
            kinds = (int,) if column.type == "integer" else (int, float)
        low = low if column.min is None else max(low, column.min)
        high = high if column.max is None else min(high, column.max)
        return _Field(
            name,
            None,
            kinds,
            low,
            high,
            column.missing_numbers,
            segments.taken,
            segments.present,
        )


def _clean(column: Column, value: object, missing_values: tuple[str, ...]) -> Value:
    """The value of a request, where a number is written as one."""
    if column.type in NUMBERS:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise BadValue(f"should be a number, not {short(value)}")
        if value != value:
            raise BadValue("should be a finite number, not NaN")
    elif not column.is_numeric and value is not None and not isinstance(value, str):
        raise BadValue(f"should be a text, not {short(value)}")
    return column.clean(value, missing_values)


def _problem(field: str, said: str, kind: str) -> Problem:
    return {"loc": ["body", field], "msg": said, "type": kind}


def json_schema(schema: ModelSchema, more: bool = False) -> dict[str, Any]:
    """The JSON schema of one row, as /openapi.json shows it; with `more`, of one that may have
    other fields too."""
    return {
        "type": "object",
        "properties": {
            name: column.json_schema(schema.missing_values) for name, column in schema.used.items()
        },
        "required": schema.features,
        **({} if more else {"additionalProperties": False}),
        "examples": [schema.given_example],
    }
