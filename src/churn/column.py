"""One column: what it means, and how one value of it is cleaned, for a table and for a request."""

import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Value = float | str | None
"""A clean value: a finite number, a text that is not empty, or None where it is missing."""

NUMBERS = ("integer", "number")
NUMERIC = (*NUMBERS, "boolean", "date")
"""The types whose clean values are numbers: a boolean is 0 or 1, a date its days since 1970."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Up to here a float tells every whole number from the next: 2**53 is also what 2**53 + 1 becomes.
LARGEST_INTEGER = 2**53 - 1


class BadValue(ValueError):
    """A value that its column does not allow; the text says why and shows the value.

    `check` names the check of data/schema.yaml that it fails, and `kept` is what remains of the
    value where that check is a warning.
    """

    def __init__(self, said: str, check: str = "types", kept: Value = None) -> None:
        super().__init__(said)
        self.check = check
        self.kept = kept


class Seen(BaseModel):
    """What the training split held of a column: the range of its numbers, or its categories."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] = ()


class Column(BaseModel):
    """One column of the table, as data/schema.yaml describes it and as README lists its keys.

    `missing_values` are texts that mean "missing" in this column besides those of the whole table;
    one that is a number means that number however it is written. `missing_rate` is the share of
    missing values, 0 to 1, in the table from which the schema was made. A served model's columns
    also say what was `seen`. With `fold` a category is recognised whatever its case, spaces and
    accents are. `log` says whether its values may stand in the prediction log, or only their hash.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["integer", "number", "boolean", "category", "date", "text", "identifier"]
    use: bool = True
    note: str = ""
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    values: tuple[str, ...] = ()
    fold: bool = False
    nullable: bool = False
    missing_values: tuple[str, ...] = ()
    missing_rate: float | None = Field(None, ge=0, le=1)
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", "'", " "] = ""
    unit: str = ""
    format: str = ""
    log: Literal["yes", "drop", "hash"] = "yes"
    seen: Seen | None = None

    @model_validator(mode="after")
    def _keys_fit_the_type(self) -> "Column":
        kind = self.type
        if kind in ("text", "identifier") and self.use:
            raise ValueError(f"a column of type {kind} is no feature: it needs `use: no`")
        if kind == "category" and (self.min is not None or self.max is not None):
            raise ValueError("a category has `values`, no `min` or `max`")
        if kind not in NUMBERS and (self.min is not None or self.max is not None):
            raise ValueError(f"a column of type {kind} has no `min` or `max`")
        if kind in NUMBERS and self.values:
            raise ValueError(f"a column of type {kind} has `min` and `max`, no `values`")
        if kind == "boolean" and len({value.casefold() for value in self.values}) != 2:
            raise ValueError("a boolean needs two `values`, the negative first, such as [No, Yes]")
        if kind == "date" and not self.format:
            raise ValueError("a date needs a `format`, such as %Y-%m-%d")
        if self.fold and (kind != "category" or not self.values):
            raise ValueError("fold needs a category with its `values`")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.unit and kind not in NUMBERS:
            raise ValueError(f"a column of type {kind} has no `unit`")
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        return self

    @property
    def is_numeric(self) -> bool:
        """Whether its clean values are numbers."""
        return self.type in NUMERIC

    @property
    def tells_rows_apart(self) -> bool:
        """Whether two rows that differ in this column alone are two rows, though it is no feature.

        A row number is no such column, and the id of a customer is named in params.yaml.
        """
        return not self.use and self.type != "identifier"

    def clean(self, value: object, missing_values: tuple[str, ...] = ("",)) -> Value:
        """The value as the model takes it. Texts are stripped; a number, a boolean and a date are
        also taken from the text that stands for them.

        Raises BadValue where the column does not allow the value.
        """
        if isinstance(value, str):
            value = value.strip()
            if value == "" or value in missing_values or value in self.missing_values:
                value = None
        if value is None or (isinstance(value, float) and math.isnan(value)):
            self._check_nullable()
            return None
        match self.type:
            case "integer" | "number":
                return self._clean_number(value)
            case "boolean":
                return self._clean_boolean(value)
            case "date":
                return self._clean_date(value)
            case _:
                return self._clean_text(value)

    def given(self, value: Value) -> Any:
        """A clean value as a request gives it: a boolean and a date in words, 3.0 as 3."""
        if isinstance(value, float):
            if self.type == "boolean":
                return self.values[int(value)]
            if self.type == "date":
                return (_EPOCH + timedelta(days=value)).strftime(self.format)
            if value.is_integer():
                return int(value)
        return value

    def plain(self, value: object, missing_values: tuple[str, ...]) -> object:
        """A value of a table, or of MLflow's signature, as a request writes it, if it can be: a
        number from its text, a date from its days since 1970."""
        if isinstance(value, float) and math.isnan(value):
            return None
        if self.type == "date" and isinstance(value, int | float):
            return self.given(float(value))
        if self.is_numeric and isinstance(value, str):
            try:
                return self.given(self.clean(value, missing_values))
            except BadValue:
                return value
        return value

    @cached_property
    def missing_numbers(self) -> frozenset[float]:
        """The missing values that are numbers."""
        texts = self.missing_values if self.type in NUMBERS else ()
        return frozenset(float(text) for text in texts if number_pattern(".", "").fullmatch(text))

    @cached_property
    def _spellings(self) -> dict[str, str]:
        return {fold(value): value for value in self.values}

    def _check_nullable(self) -> None:
        if not self.nullable:
            raise BadValue("is missing, and the schema does not say nullable", "missing")

    def _clean_number(self, value: object) -> Value:
        number = self._parsed(value)
        if not math.isfinite(number):
            raise BadValue(f"{short(value)} is not a finite number")
        if number in self.missing_numbers:
            self._check_nullable()
            return None
        if self.type == "integer" and not number.is_integer():
            raise BadValue(f"{short(value)} is not a whole number")
        if self.type == "integer" and abs(number) > LARGEST_INTEGER:
            raise BadValue(f"{short(value)} is too large for a whole number")
        if self.min is not None and number < self.min:
            raise BadValue(f"{short(value)} is below the minimum {self.min:g}", "limits", number)
        if self.max is not None and number > self.max:
            raise BadValue(f"{short(value)} is above the maximum {self.max:g}", "limits", number)
        return number + 0.0  # -0.0 becomes 0.0

    def _parsed(self, value: object) -> float:
        if isinstance(value, str):
            text = without_unit(value, self.unit)
            if not number_pattern(self.decimal, self.thousands).fullmatch(text):
                raise BadValue(f"{short(value)} is not a number")
            return float(plain_number(text, self.decimal, self.thousands))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadValue(f"{short(value)} is not a number")
        try:
            return float(value)
        except OverflowError:
            return math.inf

    def _clean_boolean(self, value: object) -> float:
        if isinstance(value, bool):
            return float(value)
        if isinstance(value, int | float):
            value = _written(value)
        spellings = [spelling.casefold() for spelling in self.values]
        if isinstance(value, str):
            for known in (spellings, ["0", "1"]):
                if value.casefold() in known:
                    return float(known.index(value.casefold()))
        raise BadValue(f"{short(value)} is neither {self.values[0]!r} nor {self.values[1]!r}")

    def _clean_date(self, value: object) -> float:
        try:
            if not isinstance(value, str):
                raise ValueError
            moment = datetime.strptime(value, self.format)
        except ValueError:
            raise BadValue(f"{short(value)} is not a date like {self.format}") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) / timedelta(days=1)

    def _clean_text(self, value: object) -> str:
        if not isinstance(value, str):
            raise BadValue(f"{short(value)} is not a text")
        # One form of line break, because a CSV file does not keep the others apart.
        value = value.replace("\r\n", "\n").replace("\r", "\n")
        return self._spellings.get(fold(value), value) if self.fold else value

    def unlisted(self, value: Value) -> bool:
        """Whether the value is a category that the schema does not list."""
        return isinstance(value, str) and bool(self.values) and value not in self.values

    def unfamiliar(self, value: Value) -> str | None:
        """Why a clean value is outside what the model was trained on, or None."""
        if value is None or self.seen is None:
            return None
        if isinstance(value, str):
            seen = value in self.seen.values
            return None if seen else f"{short(value)} was not seen in training"
        low, high = self.seen.min, self.seen.max
        if low is None or high is None or low <= value <= high:
            return None
        shown, lowest, highest = map(self.shown, (value, low, high))
        return f"{shown} is outside the training range {lowest} to {highest}"

    def shown(self, value: Value) -> str:
        """A clean value as a person reads it: as a request gives it, numbers with six digits."""
        given = self.given(value)
        return f"{given:g}" if isinstance(given, float) else str(given)

    def json_schema(self, missing_values: tuple[str, ...] = ("",)) -> dict[str, Any]:
        """The JSON schema of one value in a request: what it allows is taken and nothing else,
        but that of a date it can only say what it is."""
        missing = [*missing_values, *self.missing_values]
        match self.type:
            case "integer" | "number":
                shown = self._number_schema()
            case "boolean":
                # JSON's false and 0 are different values, which Python's are not: hence lists.
                known = [*self.values, False, True, *self._boolean_numbers()]
                texts = [*map(_any_case, (*self.values, "0", "1"))]
                texts += map(_exactly, missing) if self.nullable else []
                return {
                    "anyOf": [
                        {"enum": [*known, *([None] if self.nullable else [])]},
                        {"type": "string", "pattern": _one_of(texts)},
                    ]
                }
            case _:
                shown = {"type": "string"}
                if not self.nullable:
                    shown["pattern"] = r"\S"
                    texts = [_exactly(text) for text in missing if text]
                    shown |= {"not": {"pattern": _one_of(texts)}} if texts else {}
        if self.nullable:
            shown["type"] = [shown["type"], "null"]
        if self.type == "date":
            shown["description"] = f"a date like {self.format}"
        if self.seen and self.seen.values:
            shown["description"] = f"seen in training: {', '.join(self.seen.values)}"
        return shown

    def _number_schema(self) -> dict[str, Any]:
        limits = {
            key: self.given(limit)
            for key, limit in (("minimum", self.min), ("maximum", self.max))
            if limit is not None
        }
        if self.type == "integer":
            limits.setdefault("minimum", -LARGEST_INTEGER)
            limits.setdefault("maximum", LARGEST_INTEGER)
        missing = [self.given(number) for number in sorted(self.missing_numbers)]
        if missing and self.nullable:  # they are no numbers, so the limits do not hold for them
            return {"type": self.type, "anyOf": [limits, {"enum": missing}]}
        return {"type": self.type, **limits, **({"not": {"enum": missing}} if missing else {})}

    def _boolean_numbers(self) -> list[float]:
        """The numbers that stand for a boolean: those whose text does."""
        texts = {
            text for text in (*self.values, "0", "1") if number_pattern(".", "").fullmatch(text)
        }
        numbers = sorted(float(text) for text in texts if _written(float(text)) == text)
        return [int(number) if number.is_integer() else number for number in numbers]


def _written(number: float) -> str:
    """The number as a text, 3.0 as 3."""
    return str(int(number) if isinstance(number, float) and number.is_integer() else number)


def _one_of(texts: list[str]) -> str:
    """The pattern of a text that is one of these, with white space around it or not."""
    return rf"^\s*(?:{'|'.join(texts)})\s*$"


def _exactly(text: str) -> str:
    """The text as a pattern of JSON schema, whose escapes are fewer than Python's."""
    return re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\g<0>", text)


def _any_case(text: str) -> str:
    """The same in capital and small letters."""
    return "".join(
        f"[{letter.lower()}{letter.upper()}]"
        if letter.isalpha() and len(letter.lower()) == len(letter.upper()) == 1
        else _exactly(letter)
        for letter in text
    )


def number_pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    """What counts as a number in a text: ASCII digits, no words such as inf or nan."""
    whole = rf"(?:\d+|\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+)" if thousands else r"\d+"
    point = re.escape(decimal)
    return re.compile(rf"[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def fold(text: str) -> str:
    """The text without what people spell in different ways: case, spaces and accents."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(
        letter for letter in letters if not unicodedata.combining(letter) and not letter.isspace()
    )


def without_unit(text: str, unit: str) -> str:
    """The text of a number without its unit, which stands before or after it: -$5, 12 %."""
    if not unit:
        return text
    sign = text[:1] if text[:1] in ("+", "-") else ""
    return sign + text[len(sign) :].strip().removeprefix(unit).removesuffix(unit).strip()


def plain_number(text: str, decimal: str, thousands: str) -> str:
    """The text of a number without its thousands' sign and with a decimal point."""
    if thousands:
        text = text.replace(thousands, "")
    return text.replace(decimal, ".")


def short(value: object) -> str:
    """The value as a message shows it: its repr, at most 60 characters."""
    whole = isinstance(value, float) and value.is_integer()
    text = repr(int(value) if whole else value)  # type: ignore[call-overload]
    return text if len(text) <= 60 else f"{text[:57]}…"
