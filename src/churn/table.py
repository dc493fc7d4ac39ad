"""Tables on disk: the raw snapshot held to the schema and cleaned, and the processed table."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from churn import paths
from churn.column import LARGEST_INTEGER, NUMBERS, BadValue, Column, Value
from churn.errors import UserError
from churn.schema import SPLIT, Checks, Schema
from churn.settings import Data
from churn.source import read_texts

if TYPE_CHECKING:
    import pandas as pd

FIRST_LINE = 2
"""The line on which the first row stands (in a file without line breaks inside its fields)."""

_SHOWN_LINES = 5
_SHOWN_TEXTS = 3
_SHOWN_PROBLEMS = 12
# A difference of rates is by chance where it is within this many standard errors.
_STANDARD_ERRORS = 3


class TableError(UserError):
    """A table that does not fit the schema or params.yaml."""


@dataclass(frozen=True)
class Problem:
    """One thing in which a snapshot differs from what it should be, and the lines where.

    `check` names the key of the schema's `checks` that says how serious it is; without one it is
    an error.
    """

    said: str
    check: str = ""
    lines: tuple[int, ...] = ()

    def __str__(self) -> str:
        if not self.lines:
            return self.said
        shown = ", ".join(map(str, self.lines[:_SHOWN_LINES]))
        more = ", …" if len(self.lines) > _SHOWN_LINES else ""
        rows = f"{len(self.lines):,} row{'s' if len(self.lines) > 1 else ''}"
        return f"{self.said} ({rows}: line {shown}{more})"


def settle(problems: list[Problem], checks: Checks) -> list[str]:
    """The problems that are warnings, as text; those that are errors make one TableError."""
    by_severity: dict[str, list[str]] = {"error": [], "warning": [], "ignore": []}
    for problem in problems:
        by_severity[getattr(checks, problem.check, "error")].append(str(problem))
    errors = by_severity["error"]
    if errors:
        rest = len(errors) - _SHOWN_PROBLEMS
        more = f"; and {rest:,} more problems" if rest > 0 else ""
        shown = "; ".join(errors[:_SHOWN_PROBLEMS])
        raise TableError(f"data/raw.csv does not fit data/schema.yaml: {shown}{more}")
    return by_severity["warning"]


def read_raw(path: Path = paths.RAW) -> pl.DataFrame:
    """The snapshot with every value as the text that stands there, so that "NA" stays a region."""
    try:
        raw = read_texts(path)
    except FileNotFoundError:
        raise TableError(f"{paths.shown(path)} is missing; `dvc repro ingest` makes it") from None
    except pl.exceptions.NoDataError:
        raise TableError(
            f"{paths.shown(path)} is empty; `dvc repro -f ingest` remakes it"
        ) from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise TableError(f"{paths.shown(path)} is not a snapshot by ingest: {reason}") from None
    if raw.is_empty():
        raise TableError(f"{paths.shown(path)} has a header and no rows")
    return raw


def check_columns(names: list[str], schema: Schema, data: Data) -> list[Problem]:
    """Whether each column of the table has one role, and each role its column."""
    roles = {"data.target": [data.target], "data.drop": list(data.drop)}
    if data.id:
        roles["data.id"] = [data.id]
    said = [
        f"{role} names {name!r}, which is not a column (columns: {', '.join(names)})"
        for role, role_names in roles.items()
        for name in role_names
        if name not in names
    ]
    named = {name for role_names in roles.values() for name in role_names}
    said += [
        f"{name!r} is a feature in data/schema.yaml and also named in params.yaml"
        for name in schema.features
        if name in named
    ]
    given = [name for role_names in roles.values() for name in role_names]
    said += [
        f"{name!r} has more than one role in params.yaml" for name in named if given.count(name) > 1
    ]
    if SPLIT in named:
        said.append(f"a column cannot be named {SPLIT}: the project uses that name")
    problems = [Problem(text) for text in said]
    lost = [name for name in schema.features if name not in names]
    if lost:
        text = f"columns of data/schema.yaml are missing: {', '.join(lost)}"
        problems.append(Problem(text, "missing_columns"))
    new = [name for name in names if name not in named and name not in schema.columns]
    if new:
        text = (
            f"columns that data/schema.yaml does not know: {', '.join(new)}"
            " (describe them there, or name them in data.drop)"
        )
        problems.append(Problem(text, "new_columns"))
    return problems


def clean_features(raw: pl.DataFrame, schema: Schema) -> tuple[pl.DataFrame, list[Problem]]:
    """The features of `raw`, cleaned: Float64 and String, null where missing; and all that does
    not fit the schema. A column that the table lacks is all null."""
    there = {name: column for name, column in schema.used.items() if name in raw.columns}
    # In one go, so that the columns share the cores.
    plain = raw.select(
        _plain_number(name, column, schema.missing_values).alias(name)
        for name, column in there.items()
        if _may_be_plain(column)
    )
    clean = []
    problems: list[Problem] = []
    for name, column in schema.used.items():
        if name in there:
            sure = plain[name] if name in plain.columns else None
            values, found = _clean_column(raw[name], sure, column, schema)
            problems += found
        else:
            values = pl.repeat(None, raw.height, dtype=_dtype(column), eager=True)
        clean.append(values.alias(name))
    return pl.DataFrame(clean), problems


def _dtype(column: Column) -> pl.DataType:
    return pl.Float64() if column.is_numeric else pl.String()


def _clean_column(
    texts: pl.Series, plain: pl.Series | None, column: Column, schema: Schema
) -> tuple[pl.Series, list[Problem]]:
    """Clean each different text once, by the same function that cleans a value of a request, but
    for `plain` numbers, of which there may be millions."""
    values = pl.repeat(None, len(texts), dtype=_dtype(column), eager=True)
    if plain is not None:
        values = plain
    rest = texts.filter(values.is_null()) if values.null_count() else texts.clear()
    cleaned: dict[str, Value] = {}
    bad: dict[str, list[tuple[str, str]]] = {}
    for text in rest.unique(maintain_order=True).to_list():
        try:
            cleaned[text] = column.clean(text, schema.missing_values)
        except BadValue as error:
            cleaned[text] = error.kept
            bad.setdefault(error.check, []).append((text, str(error)))
        if column.unlisted(cleaned[text]):
            said = f"{cleaned[text]!r} is not among its values in the schema"
            bad.setdefault("categories", []).append((text, said))
    if any(text != value for text, value in cleaned.items()):
        looked_up = texts.replace_strict(
            list(cleaned), list(cleaned.values()), default=None, return_dtype=_dtype(column)
        )
        values = looked_up if plain is None else plain.fill_null(looked_up)
    elif cleaned:
        values = texts  # each is its own clean value
    problems = [
        problem for check, found in bad.items() for problem in _problems(texts, check, found)
    ]
    return values, problems + _check_missing_rate(texts.name, values, column, schema.tolerance)


def _may_be_plain(column: Column) -> bool:
    return column.type in NUMBERS and not column.thousands and not column.unit


def _plain_number(name: str, column: Column, missing_values: tuple[str, ...]) -> pl.Expr:
    """The numbers of the texts that are surely what Column.clean() makes of them, else null.

    Polars reads every text that stands for a finite number as Python does (a test compares them);
    what it does not read, or what is not allowed, is for Column.clean() to say.
    """
    text = pl.col(name)
    number = text
    if column.decimal != ".":
        pointless = ~text.str.contains(".", literal=True)
        number = pl.when(pointless).then(text.str.replace(column.decimal, ".", literal=True))
    number = number.cast(pl.Float64, strict=False)
    sure = number.is_finite()
    if numbers := column.missing_numbers:
        sure &= ~number.is_in(sorted(numbers))
    if missing := [word for word in (*missing_values, *column.missing_values) if word]:
        sure &= ~text.is_in(missing)
    if column.type == "integer":
        sure &= (number == number.round()) & (number.abs() <= LARGEST_INTEGER)
    if column.min is not None:
        sure &= number >= column.min
    if column.max is not None:
        sure &= number <= column.max
    # -0.0 becomes 0.0
    return pl.when(sure).then(pl.when(number == 0).then(0.0).otherwise(number))


def _problems(texts: pl.Series, check: str, bad: list[tuple[str, str]]) -> list[Problem]:
    """The first bad texts of a column one by one, all others as one problem with their count."""
    shown, rest = bad[:_SHOWN_TEXTS], bad[_SHOWN_TEXTS:]
    problems = [
        Problem(f"{texts.name}: {said}", check, lines_where(texts == text)) for text, said in shown
    ]
    if rest:
        lines = lines_where(texts.is_in([text for text, _ in rest]))
        said = f"{texts.name}: {len(rest):,} more different values do not fit"
        problems.append(Problem(said, check, lines))
    return problems


def lines_where(rows: pl.Series) -> tuple[int, ...]:
    """The lines of the file on which the true ones of `rows` stand."""
    return tuple((rows.arg_true() + FIRST_LINE).to_list())


def _check_missing_rate(
    name: str, values: pl.Series, column: Column, tolerance: float
) -> list[Problem]:
    rate = values.null_count() / max(len(values), 1)
    if column.missing_rate is None or not _far(rate, column.missing_rate, len(values), tolerance):
        return []
    said = f"{name}: {rate:.1%} are missing where the schema records {column.missing_rate:.1%}"
    return [Problem(said, "missing_rate", lines_where(values.is_null()))]


def check_class_balance(target: pl.Series, schema: Schema, positive: str) -> list[Problem]:
    """Whether the share of the positive class is about that of the table the schema comes from."""
    rate = float(target.sum()) / max(len(target), 1)
    if schema.positive_rate is None or not _far(
        rate, schema.positive_rate, len(target), schema.tolerance
    ):
        return []
    said = (
        f"target {target.name!r}: {rate:.1%} are {positive!r} where the schema records"
        f" {schema.positive_rate:.1%} ({len(target):,} rows)"
    )
    return [Problem(said, "class_balance")]


def _far(rate: float, recorded: float, rows: int, tolerance: float) -> bool:
    """Whether a rate differs from the recorded one by more than the tolerance and chance."""
    chance = _STANDARD_ERRORS * math.sqrt(recorded * (1 - recorded) / max(rows, 1))
    return abs(rate - recorded) > tolerance + chance


def encode_target(
    texts: pl.Series, positive: str, missing_values: tuple[str, ...]
) -> tuple[pl.Series, list[Problem]]:
    """The target as 1 (the positive class) and 0 (the one other value there is), and what is wrong
    with it. Values are told apart without their case and the white space around them."""
    name = f"target {texts.name!r}"
    different = texts.unique().to_list()
    stripped = texts
    if any(text != text.strip() for text in different):
        stripped = texts.str.strip_chars()
    folded, wanted = stripped, positive.strip().lower()
    if any(text != text.lower() for text in different):
        folded = stripped.str.to_lowercase()
    encoded = (folded == wanted).cast(pl.Int64).alias(texts.name)
    absent = stripped.is_in(["", *missing_values]) & (folded != wanted)
    if absent.any():
        said = f"{name} is missing; label these rows or leave them out"
        return encoded, [Problem(said, lines=lines_where(absent))]
    counts = folded.value_counts(sort=True)[texts.name].to_list()
    spelt = {value: stripped.filter(folded == value)[0] for value in counts[:5]}
    if wanted not in counts:
        shown = ", ".join(repr(text) for text in spelt.values())
        said = f"data.positive = {positive!r} is not a value of {name}; its values: {shown}"
        return encoded, [Problem(said)]
    others = [value for value in counts if value != wanted]
    if not others:
        said = (
            f"{name} has only one class: {positive!r} in all {len(texts):,} rows;"
            " a model needs customers who left and customers who stayed"
        )
        return encoded, [Problem(said)]
    problems = [
        Problem(
            f"{name} has {len(counts)} values where two are expected, {positive!r} and"
            f" {spelt.get(others[0], others[0])!r}: {spelt.get(value, value)!r} is neither",
            lines=lines_where(folded == value),
        )
        for value in others[1:4]
    ]
    return encoded, problems


def identities(raw: pl.DataFrame, features: pl.DataFrame, id_column: str | None) -> pl.Series:
    """What makes a row itself: its id, else the content of its features, in the order of their
    names. The target is left out, so that a customer whose label changes keeps the split.

    Raises TableError where an id is blank.
    """
    if id_column:
        ids = raw[id_column].str.strip_chars()
        blank = ids == ""
        if blank.any():
            raise TableError(
                f"data/raw.csv: {Problem(f'data.id {id_column}: is blank', '', lines_where(blank))}"
            )
        return ids
    fields = (pl.col(name).cast(pl.String).fill_null("") for name in sorted(features.columns))
    return features.select(pl.concat_str(fields, separator="\x1f")).to_series()


def repeated(rows: pl.DataFrame) -> pl.Series:
    """Which rows are exact copies of an earlier one, shape (rows,).

    Rows are compared in full, but only those whose 64-bit hash occurs more than once.
    """
    hashes = rows.hash_rows()
    suspects = hashes.is_duplicated().arg_true()
    copies = suspects.filter(~_first_of_its_kind(rows[suspects]))
    marks = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    return marks.scatter(copies, True) if len(copies) else marks


def _first_of_its_kind(rows: pl.DataFrame) -> pl.Series:
    if rows.is_empty():
        return pl.Series([], dtype=pl.Boolean)
    return rows.select(pl.struct(pl.all()).is_first_distinct()).to_series()


def write_processed(table: pl.DataFrame, schema: Schema, path: Path) -> None:
    """Write features, target and split as CSV; whole numbers without a point, missing as blank."""
    whole = [name for name, c in schema.used.items() if c.type in ("integer", "boolean")]
    table.with_columns(pl.col(whole).cast(pl.Int64)).write_csv(path)


def read_processed(schema: Schema, target: str) -> "pd.DataFrame":
    """data/processed.csv as pandas, which scikit-learn takes: float64 and text features (missing as
    NaN), the target as int64, the split."""
    import pandas as pd

    path = paths.PROCESSED
    types = {name: "float64" if c.is_numeric else "str" for name, c in schema.used.items()}
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
