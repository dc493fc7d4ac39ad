"""Tables on disk: the raw snapshot checked and cleaned by the schema, and the processed table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from churn import paths
from churn.column import BadValue, Column, Value
from churn.errors import UserError
from churn.schema import SPLIT, Schema
from churn.settings import Data

_SHOWN_LINES = 5
_SHOWN_TEXTS = 3
_SHOWN_PROBLEMS = 12


class TableError(UserError):
    """A table that does not fit the schema or params.yaml."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a column, and the lines of the file where it stands."""

    column: str
    reason: str
    lines: list[int]

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.lines[:_SHOWN_LINES]))
        more = ", …" if len(self.lines) > _SHOWN_LINES else ""
        rows = f"{len(self.lines):,} row{'s' if len(self.lines) > 1 else ''}"
        return f"{self.column}: {self.reason} ({rows}: line {shown}{more})"


def read_raw(path: Path = paths.RAW) -> pd.DataFrame:
    """The snapshot with every value as the text that stands there, so that "NA" stays a region.

    The index is the line number in the file (of a file without line breaks inside its fields).
    """
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
        if not isinstance(raw.index, pd.RangeIndex):  # where pandas puts fields without a name
            raise pd.errors.ParserError("its rows have more fields than its header")
    except FileNotFoundError:
        raise TableError(f"{paths.shown(path)} is missing; `dvc repro ingest` makes it") from None
    except pd.errors.EmptyDataError:
        raise TableError(
            f"{paths.shown(path)} is empty; `dvc repro -f ingest` remakes it"
        ) from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise TableError(f"{paths.shown(path)} is not a snapshot by ingest: {error}") from None
    if raw.empty:
        raise TableError(f"{paths.shown(path)} has a header and no rows")
    raw.index = pd.RangeIndex(2, len(raw) + 2)
    return raw


def check_columns(names: list[str], schema: Schema, data: Data) -> None:
    """Each column of the table has one role, and each role has its column. Else: TableError."""
    roles = {"data.target": [data.target], "data.drop": list(data.drop)}
    if data.id:
        roles["data.id"] = [data.id]
    problems = [
        f"{role} names {name!r}, which is not a column (columns: {', '.join(names)})"
        for role, role_names in roles.items()
        for name in role_names
        if name not in names
    ]
    named = {name for role_names in roles.values() for name in role_names}
    problems += [
        f"{name!r} is a feature in data/schema.yaml and also named in params.yaml"
        for name in schema.features
        if name in named
    ]
    given = [name for role_names in roles.values() for name in role_names]
    problems += [
        f"{name!r} has more than one role in params.yaml" for name in named if given.count(name) > 1
    ]
    if SPLIT in named:
        problems.append(f"a column cannot be named {SPLIT}: the project uses that name")
    lost = [name for name in schema.features if name not in names]
    if lost:
        problems.append(f"columns of data/schema.yaml are missing: {', '.join(lost)}")
    new = [name for name in names if name not in named and name not in schema.columns]
    if new:
        problems.append(
            f"columns that data/schema.yaml does not know: {', '.join(new)}"
            " (describe them there, or name them in data.drop)"
        )
    if problems:
        raise TableError(f"data/raw.csv: {'; '.join(problems)}")


def clean_features(raw: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The features of `raw`, cleaned: float64 (NaN where missing) and text (None where missing).

    Raises TableError with all that does not fit, each with its count and first line numbers.
    """
    clean = {}
    problems: list[Problem] = []
    for name, column in schema.columns.items():
        clean[name], found = _clean_column(raw[name], column, schema.missing_values)
        problems += found
    if problems:
        shown = "; ".join(map(str, problems[:_SHOWN_PROBLEMS]))
        more = len(problems) - _SHOWN_PROBLEMS
        rest = f"; and {more:,} more problems" if more > 0 else ""
        raise TableError(f"data/raw.csv does not fit data/schema.yaml: {shown}{rest}")
    return pd.DataFrame(clean, index=raw.index)


def _clean_column(
    texts: pd.Series, column: Column, missing_values: tuple[str, ...]
) -> tuple[pd.Series, list[Problem]]:
    """Clean each different text once, by the same function that cleans a value of a request."""
    codes, uniques = pd.factorize(texts)
    values: list[Value] = []
    reasons: dict[int, str] = {}
    for code, text in enumerate(uniques):
        try:
            value = column.clean(text, missing_values)
            if column.unlisted(value):
                reasons[code] = f"{value!r} is not among its values in the schema"
        except BadValue as error:
            value = None
            reasons[code] = str(error)
        values.append(value)
    problems = _problems(texts, codes, reasons)
    dtype = np.float64 if column.is_numeric else object
    clean = np.array(values, dtype=dtype)[codes]
    return pd.Series(clean, index=texts.index, dtype=dtype), problems


def _problems(texts: pd.Series, codes: np.ndarray, reasons: dict[int, str]) -> list[Problem]:
    """The first bad texts of a column one by one, all others as one problem with their count."""
    lines = texts.index.to_numpy()
    name = str(texts.name)
    first = list(reasons.items())[:_SHOWN_TEXTS]
    rest = list(reasons)[_SHOWN_TEXTS:]
    problems = [Problem(name, reason, lines[codes == code].tolist()) for code, reason in first]
    if rest:
        reason = f"{len(rest):,} more different values do not fit"
        problems.append(Problem(name, reason, lines[np.isin(codes, rest)].tolist()))
    return problems


def encode_target(texts: pd.Series, positive: str, missing_values: tuple[str, ...]) -> pd.Series:
    """The target as 1 (the positive class) and 0 (the one other value there is).

    Raises TableError where the target has not exactly these two values.
    """
    stripped = texts.str.strip()
    name = f"target {texts.name!r}"
    absent = stripped.isin(missing_values) & (stripped != positive)
    if absent.any():
        problem = Problem(name, "is missing", texts.index[absent].tolist())
        raise TableError(f"data/raw.csv: {problem}; label these rows or leave them out")
    counts = stripped.value_counts()
    if positive not in counts:
        shown = ", ".join(f"{value!r}" for value in counts.index[:5])
        raise TableError(
            f"data.positive = {positive!r} is not a value of {name}; its values: {shown}"
        )
    others = [value for value in counts.index if value != positive]
    if not others:
        raise TableError(
            f"{name} has only one class: {positive!r} in all {len(texts):,} rows;"
            " a model needs customers who left and customers who stayed"
        )
    if len(others) > 1:
        shown = "; ".join(
            str(Problem(repr(value), "is neither", texts.index[stripped == value].tolist()))
            for value in others[1:4]
        )
        raise TableError(
            f"{name} has {len(counts)} values where two are expected, {positive!r} and"
            f" {others[0]!r}: {shown}"
        )
    return (stripped == positive).astype("int64")


def identities(raw: pd.DataFrame, features: pd.DataFrame, id_column: str | None) -> list[str]:
    """What makes a row itself: its id, else the content of its features, in the order of their
    names. The target is left out, so that a customer whose label changes keeps the split."""
    if id_column:
        ids = raw[id_column].str.strip()
        blank = ids == ""
        if blank.any():
            problem = Problem(id_column, "is blank", raw.index[blank].tolist())
            raise TableError(f"data/raw.csv: data.id {problem}")
        return ids.tolist()
    columns = [features[name].tolist() for name in sorted(features.columns)]
    return ["\x1f".join(map(repr, row)) for row in zip(*columns, strict=True)]


def write_processed(table: pd.DataFrame, schema: Schema, path: Path) -> None:
    """Write features, target and split as CSV; whole numbers without a point, missing as blank."""
    integers = {name: "Int64" for name, c in schema.columns.items() if c.type == "integer"}
    table.astype(integers).to_csv(path, index=False, lineterminator="\n")


def read_processed(schema: Schema, target: str) -> pd.DataFrame:
    """data/processed.csv: float64 and text features (missing as NaN), the target, the split."""
    path = paths.PROCESSED
    types = {name: "float64" if c.is_numeric else "str" for name, c in schema.columns.items()}
    try:
        table = pd.read_csv(
            path,
            dtype=types | {target: "int64", SPLIT: "str"},
            keep_default_na=False,
            na_values=[""],
        )
    except FileNotFoundError:
        raise TableError(f"{paths.shown(path)} is missing; `dvc repro prepare` makes it") from None
    except ValueError as error:
        raise TableError(f"{paths.shown(path)} is not from prepare_data.py: {error}") from None
    wanted = [*schema.features, target, SPLIT]
    if list(table.columns) != wanted:
        raise TableError(
            f"{paths.shown(path)} has the columns {', '.join(table.columns)} where"
            f" data/schema.yaml and params.yaml ask for {', '.join(wanted)}; `dvc repro prepare`"
            " remakes it"
        )
    return table
