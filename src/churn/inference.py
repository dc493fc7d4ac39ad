"""What a column of texts is: its type, how its numbers and dates are written, what is missing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from churn.column import LARGEST_INTEGER, Column, fold, number_pattern, without_unit

# Texts that stand for nothing in a column of numbers or dates, in lower case.
_NOTHING = frozenset(
    {
        *("?", "-", "--", ".", "n/a", "na", "nan", "nil", "none", "null", "(null)", "<na>", "#n/a"),
        *("#na", "unknown", "unk", "missing", "undefined", "not available", "no data", "k.a."),
        *("s/d", "n.d.", "n.c.", "unbekannt", "inconnu", "desconocido", "sconosciuto"),
    }
)
# … and those that stand for nothing in any column: nobody names a category so.
NOTHING_ANYWHERE = frozenset({"?", "#n/a", "nan", "null", "(null)", "<na>", "-", "--"})

_UNITS = ("%", "€", "$", "£", "¥", "₹", "EUR", "USD", "GBP", "CHF", "kr", "zł")

# Spellings of false and true, in lower case.
BOOLEANS = frozenset(
    {
        ("no", "yes"),
        ("n", "y"),
        ("false", "true"),
        ("f", "t"),
        ("0", "1"),
        ("0.0", "1.0"),
        ("off", "on"),
        ("non", "oui"),
        ("faux", "vrai"),
        ("f", "v"),
        ("n", "o"),
        ("nein", "ja"),
        ("n", "j"),
        ("falsch", "wahr"),
        ("no", "si"),
        ("no", "sí"),
        ("n", "s"),
        ("falso", "verdadero"),
        ("falso", "verdadeiro"),
        ("falso", "vero"),
        ("não", "sim"),
        ("nao", "sim"),
        ("nee", "ja"),
        ("nej", "ja"),
        ("nie", "tak"),
        ("нет", "да"),
    }
)

# Day first where both readings fit: most of the world writes so.
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y"),
    *("%d %B %Y", "%B %d, %Y", "%Y-%m"),
)
_TIMES = ("", " %H:%M:%S", " %H:%M", "T%H:%M:%S", "T%H:%M:%SZ", " %H:%M:%S.%f", "T%H:%M:%S.%f")
DATE_FORMATS = tuple(date + time for time in _TIMES for date in _DATES)

# How numbers are written where a plain decimal point is not it: decimal sign, thousands' sign.
_SPELLINGS = ((",", ""), (",", "."), (".", ","), (",", " "), (".", " "), (".", "'"), (",", "'"))

_TRIED = 1_000  # different texts that are tried before a spelling is tried on all
_CODE_LENGTH = 40
_RARE_ROWS = 10  # a category with fewer rows says little about its customers


@dataclass(frozen=True)
class Inferred:
    """A column's proposed description, and its values as that description reads them.

    `numbers` is Float64 (null where missing) for integer, number, boolean and date, else None.
    `counts` holds the rows of each different text that is no plain number, stripped.
    """

    column: Column
    numbers: pl.Series | None
    missing: pl.Series
    counts: dict[str, int]
    distinct: int


def infer(texts: pl.Series, plain: pl.Series) -> Inferred:
    """The type of a column from its texts, shape (rows,); `plain` are those of them that are plain
    numbers, as Float64 (else null)."""
    if not plain.is_finite().all():  # Polars reads nan and inf as numbers; here they are words
        plain = plain.to_frame("x").select(pl.when(pl.col("x").is_finite()).then("x")).to_series()
    counts = _counts(texts.filter(plain.is_null())) if plain.null_count() else {}
    blank = counts.pop("", 0)
    if not counts and blank == len(texts):
        column = Column(type="text", use=False, nullable=True, note="always empty")
        return Inferred(column, None, plain.is_null(), {}, 0)
    for attempt in (_boolean, _number, _date):
        found = attempt(texts, plain, counts)
        if found is not None:
            column, numbers = found
            column = column.model_copy(update={"nullable": numbers.null_count() > 0})
            return Inferred(column, numbers, numbers.is_null(), counts, _distinct(column, numbers))
    if plain.null_count() < len(texts):
        counts = _counts(texts)
        blank = counts.pop("", 0)
    return _words(texts, counts, blank)


def _distinct(column: Column, numbers: pl.Series) -> int:
    present = numbers.drop_nulls() if numbers.null_count() else numbers
    if column.type == "integer":  # which are counted faster as such
        present = present.cast(pl.Int64)
    return present.n_unique()


def _counts(texts: pl.Series) -> dict[str, int]:
    """How many rows hold each different text, stripped, the most frequent first."""
    stripped = texts.value_counts(name="rows").with_columns(pl.col(texts.name).str.strip_chars())
    merged = stripped.group_by(texts.name, maintain_order=True).agg(pl.col("rows").sum())
    return dict(merged.sort("rows", texts.name, descending=[True, False]).iter_rows())


Found = tuple[Column, pl.Series] | None


def _boolean(texts: pl.Series, plain: pl.Series, counts: dict[str, int]) -> Found:
    if (counts and plain.null_count() < len(texts)) or len(counts) > 12:
        return None
    if not counts and texts.head(1000).n_unique() > 12:
        return None
    if not counts:
        stripped = texts.str.strip_chars()
        counts = _counts(stripped)
        counts.pop("", None)
    present = [text for text in counts if text.casefold() not in NOTHING_ANYWHERE]
    spellings = {text.casefold(): text for text in reversed(present)}
    pair = tuple(sorted(spellings))
    for known in BOOLEANS:
        if set(known) == set(pair):
            values = tuple(spellings[spelling] for spelling in known)
            nothing = tuple(sorted(set(counts) - set(present)))
            column = Column(type="boolean", values=values, missing_values=nothing)
            truth = {text: float(known.index(text.casefold())) for text in present}
            numbers = texts.str.strip_chars().replace_strict(
                list(truth), list(truth.values()), default=None, return_dtype=pl.Float64
            )
            return column, numbers
    return None


def _number(texts: pl.Series, plain: pl.Series, counts: dict[str, int]) -> Found:
    nothing = [text for text in counts if text.casefold() in _NOTHING]
    words = [text for text in counts if text.casefold() not in _NOTHING]
    decimal, thousands, numbers = ".", "", plain
    for unit in _UNITS:
        if words and all(unit in word for word in words[:_TRIED]):
            return _with_unit(texts, unit, nothing)
    if words:
        spelling = _spelling(words, texts, plain)
        if spelling:
            decimal, thousands = spelling
            numbers = _read(texts, decimal, thousands)
        elif plain.null_count() < len(texts) and _are_few(words, counts, len(texts)):
            nothing += words
        else:
            return None
    elif plain.null_count() == len(texts):
        return None
    present = numbers.drop_nulls()
    whole = bool((present % 1 == 0).all() and (present.abs() <= LARGEST_INTEGER).all())
    if whole and _is_code(texts):
        return None
    column = Column(
        type="integer" if whole else "number",
        decimal=decimal,
        thousands=thousands,
        missing_values=tuple(sorted(nothing)),
    )
    return column, numbers


def _with_unit(texts: pl.Series, unit: str, nothing: list[str]) -> Found:
    """A column of numbers that are written with a unit."""
    known = _counts(texts)
    bare = texts.str.strip_chars().replace_strict(
        list(known), [without_unit(text, unit) for text in known], return_dtype=pl.String
    )
    counts = _counts(bare)
    counts.pop("", None)
    found = _number(bare, bare.cast(pl.Float64, strict=False), counts)
    if found is None or any(text.casefold() == unit.casefold() for text in known):
        return None
    column, numbers = found
    return column.model_copy(update={"unit": unit}), numbers


def _are_few(words: list[str], counts: dict[str, int], rows: int) -> bool:
    """Whether words among numbers are so few that they rather mean "no number"."""
    return len(words) <= 3 and sum(counts[word] for word in words) <= rows / 20


def _spelling(words: list[str], texts: pl.Series, plain: pl.Series) -> tuple[str, str] | None:
    """The decimal and thousands' signs with which all the words, and all texts, are numbers.

    "1,234" may be both. It is grouped where numbers below 1,000 stand without a comma, and none
    above; else its comma is a decimal one.
    """
    ungrouped = plain.abs()
    grouped = len(ungrouped.drop_nulls()) > 0 and not (ungrouped >= 1000).any()
    grouped = grouped and not any(word.lstrip("+-").startswith("0,") for word in words)
    spellings = ((".", ","), *_SPELLINGS) if grouped else _SPELLINGS
    for decimal, thousands in spellings:
        pattern = number_pattern(decimal, thousands)
        if not all(pattern.fullmatch(word) for word in words[:_TRIED]):
            continue
        known = {text for text in _counts(texts) if text.casefold() not in _NOTHING and text}
        if all(pattern.fullmatch(text) for text in known):
            return decimal, thousands
    return None


def _read(texts: pl.Series, decimal: str, thousands: str) -> pl.Series:
    frame = texts.to_frame("t")
    number = pl.col("t").str.strip_chars()
    if thousands:
        number = number.str.replace_all(thousands, "", literal=True)
    number = number.str.replace(decimal, ".", literal=True)
    read = frame.select(number.cast(pl.Float64, strict=False)).to_series()
    return read.alias(texts.name)


def _is_code(texts: pl.Series) -> bool:
    """Whether whole numbers are a code, such as a postal code: some begin with a zero."""
    return bool((texts.str.starts_with("0") & (texts.str.len_bytes() > 1)).any()) and bool(
        texts.str.contains(r"^0\d+$").any()
    )


def _date(texts: pl.Series, plain: pl.Series, counts: dict[str, int]) -> Found:
    nothing = [text for text in counts if text.casefold() in _NOTHING]
    words = [text for text in counts if text.casefold() not in _NOTHING]
    if not words or plain.null_count() < len(texts):
        return None
    for form in DATE_FORMATS:
        if all(_fits(word, form) for word in words[:20]) and all(_fits(w, form) for w in words):
            column = Column(type="date", format=form, missing_values=tuple(sorted(nothing)))
            days = {word: column.clean(word) for word in words}
            numbers = texts.str.strip_chars().replace_strict(
                list(days), list(days.values()), default=None, return_dtype=pl.Float64
            )
            return column, numbers
    return None


def _fits(word: str, form: str) -> bool:
    try:
        return bool(datetime.strptime(word, form))
    except ValueError:
        return False


def _words(texts: pl.Series, counts: dict[str, int], blank: int) -> Inferred:
    """A category, an identifier or free text."""
    nothing = tuple(sorted(text for text in counts if text.casefold() in NOTHING_ANYWHERE))
    missing = pl.repeat(False, len(texts), dtype=pl.Boolean, eager=True)
    if blank or nothing:
        missing = texts.str.strip_chars().is_in(["", *nothing])
    categories = {text: rows for text, rows in counts.items() if text not in nothing}
    present = sum(categories.values())
    nullable = present < len(texts)
    common = {"nullable": nullable, "missing_values": nothing}
    if _is_text(categories, present):
        column = Column(type="text", use=False, **common)
    elif len(categories) >= 0.99 * present and present >= 20:
        column = Column(type="identifier", use=False, **common)
    elif _is_scattered(categories, present):
        column = Column(type="text", use=False, **common)
    else:
        column = Column(type="category", values=tuple(sorted(categories)), **common)
    return Inferred(column, None, missing, categories, len(categories))


def _is_text(categories: dict[str, int], present: int) -> bool:
    """Sentences: several words each, and hardly one like another."""
    sample = list(categories)[:_TRIED]
    words = sum(len(re.findall(r"\w+", text)) for text in sample) / max(len(sample), 1)
    length = sum(map(len, sample)) / max(len(sample), 1)
    return len(categories) > 0.2 * present and (words >= 4 or length > _CODE_LENGTH)


def _is_scattered(categories: dict[str, int], present: int) -> bool:
    """So many categories that most rows stand in one with few rows."""
    common = sum(rows for rows in categories.values() if rows >= _RARE_ROWS)
    return len(categories) > 50 and common < present / 2


def spelt_alike(texts: Iterable[str]) -> list[list[str]]:
    """The groups of texts that are the same but for case, space and accents."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(fold(text), []).append(text)
    return [group for group in groups.values() if len(group) > 1]


# What a target says of customers who leave and of those who stay, in lower case.
_LEAVING = frozenset(
    {
        *("churn", "churned", "churner", "left", "leaver", "leaves", "leave", "lost", "gone"),
        *("exited", "attrited", "attrited customer", "attrition", "cancelled", "canceled", "quit"),
        *("closed", "terminated", "departed", "abgewandert", "gekündigt", "résilié", "parti"),
    }
)
_STAYING = frozenset(
    {
        *("stayed", "stays", "stay", "active", "retained", "existing", "existing customer"),
        *("current", "loyal", "kept", "no churn", "not churned", "non-churn", "geblieben", "actif"),
    }
)
_STAYING_NAME = re.compile(r"stay|retain|retention|active|loyal|kept|renew|remain", re.IGNORECASE)


def positive_of(name: str, values: tuple[str, str]) -> str | None:
    """The one of a target's two values that stands for customers who leave, where it is obvious."""
    first, second = (value.casefold() for value in values)
    for one, other, value in ((first, second, values[0]), (second, first, values[1])):
        if one in _LEAVING and other not in _LEAVING:
            return value
        if other in _STAYING and one not in _STAYING:
            return value
        # A Yes to "retained" is a customer who stays.
        if (other, one) in (*BOOLEANS, ("-1", "1")) and not _STAYING_NAME.search(name):
            return value
    return None
