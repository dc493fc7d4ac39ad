"""Columns that say which row or which customer it is: never a feature, and one of them the id."""

import re
from typing import Any

from churn.profile import Facet, Profile, value_range
from churn.proposal import Finding, Proposal

_UNIQUE = 0.95  # of the rows have a value of their own
_ID_WORDS = frozenset({"id", "ids", "uuid", "guid", "key", "index", "idx", "rowid", "rownumber"})
_PERSON = re.compile(
    r"(customer|client|user|account|acct|member|subscriber|person|kunden?|abonn[eé]|card|policy)s?"
    r"(id|no|nr|num|number|nummer|numero|key|code|ref)?"
)
_NAMES_A_PERSON = re.compile(
    rf"{_PERSON.pattern}|n(o|r|um|umero)?{_PERSON.pattern}|msisdn|phone|e?mail"
)


def words_of(name: str) -> list[str]:
    """The words of a column's name: "customerID" and "Customer Id" are customer and id."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word for word in re.split(r"[^0-9a-zà-ÿ]+", spaced.lower()) if word]


def find_identifiers(proposal: Proposal, profile: Profile) -> None:
    """Row numbers, and columns that say who a customer is; the best of the latter is the id."""
    candidates: list[tuple[int, str]] = []
    for name in proposal.undecided():
        facet = profile.facets[name]
        if _is_row_number(facet):
            rest = f"{facet.distinct:,} consecutive numbers in the order of the rows"
            proposal.exclude(name, f"row number: {rest}", type="identifier", **_NO_NUMBER)
        elif _is_identifier(name, facet, profile.rows):
            rest = f"{facet.distinct:,} different values in {profile.rows:,} rows"
            proposal.exclude(name, f"identifier: {rest}", type="identifier", **_NO_NUMBER)
            if not facet.missing:
                candidates.append((_likeness_to_an_id(name, facet, profile.rows), name))
        else:
            continue
        if profile.is_telling(facet.roc_auc):
            said = (
                f"{name}: its order alone tells the target, ROC-AUC {facet.roc_auc:.3f}: the rows"
                " or the numbers were assigned by outcome or in time; it is no feature, but ask"
                " what else was sorted like it"
            )
            proposal.findings.append(Finding(2, said))
    if candidates:
        proposal.id = max(candidates, key=lambda candidate: candidate[0])[1]


_NO_NUMBER: dict[str, Any] = {"values": (), "decimal": ".", "thousands": "", "format": ""}


def _is_row_number(facet: Facet) -> bool:
    numbers = facet.inferred.numbers
    if facet.inferred.column.type != "integer" or numbers is None or facet.missing:
        return False
    steps = numbers.diff().drop_nulls()
    # Where copies of rows were left out, a row number jumps over them.
    return (
        len(steps) > 20
        and bool((steps >= 1).all())
        and (int((steps == 1).sum()) > 0.9 * len(steps))
    )


def _is_identifier(name: str, facet: Facet, rows: int) -> bool:
    present = rows - facet.missing
    kind = facet.inferred.column.type
    if kind == "identifier":
        return True
    if kind not in ("integer", "category", "text") or present < 20:
        return False
    words = set(words_of(name))
    person = bool(_NAMES_A_PERSON.fullmatch("".join(words_of(name))))
    unique = facet.distinct / present
    if (words & _ID_WORDS or person) and unique >= _UNIQUE:
        return True
    if person and words & _ID_WORDS and unique >= 0.05:
        return True  # a customer with several rows
    if kind != "integer" or unique < _UNIQUE:
        return False
    return _repeats_too_little(facet, present) or _has_a_fixed_length(facet, present)


def _has_a_fixed_length(facet: Facet, present: int) -> bool:
    """Whether whole numbers are all different and of one length, as numbers that are given out
    are and measures are not; seconds since 1970 are of one length too."""
    numbers = facet.inferred.numbers
    if numbers is None or facet.distinct < present or present < 200:
        return False
    low, high = (len(f"{abs(value):.0f}") for value in value_range(numbers))
    return low == high >= 6 and not 1e9 <= abs(value_range(numbers)[0]) < 2e9


def _repeats_too_little(facet: Facet, present: int) -> bool:
    """Whether whole numbers repeat far less often than numbers drawn from their range would.

    Of n draws from r numbers, about n²/2r meet one that was drawn before (the birthday problem).
    """
    numbers = facet.inferred.numbers
    if numbers is None:
        return False
    low, high = value_range(numbers)
    expected = present**2 / (2 * (high - low + 1))
    return expected >= 5 and present - facet.distinct <= expected / 20


def _likeness_to_an_id(name: str, facet: Facet, rows: int) -> int:
    words = words_of(name)
    unique = facet.distinct == rows - facet.missing
    person = _PERSON.search("".join(words)) is not None
    return 4 * bool(set(words) & _ID_WORDS) + 2 * person + unique
