"""What in a table would make a model look better than it is, or worse: found, named with the
evidence, and handled in the schema that is proposed for the table."""

from typing import Any

import numpy as np
import polars as pl

from churn.column import NUMBERS, Column
from churn.identifiers import find_identifiers
from churn.inference import spelt_alike
from churn.leaks import LEAK_ROC_AUC, find_leaks
from churn.profile import Facet, Profile, value_range
from churn.proposal import Finding, Proposal, revised
from churn.table import repeated

_STANDARD_ERRORS = 5
_NEARLY_CONSTANT = 0.99
_SENTINELS = {-1.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, -9.0, -99.0, -999.0, -9999.0, -99999.0}
_SENTINEL_ROWS = 5


def settle(profile: Profile, target: str, leak_roc_auc: float = LEAK_ROC_AUC) -> Proposal:
    """Look for each trap in turn; what one excludes, the later ones leave alone."""
    proposal = Proposal({name: facet.inferred.column for name, facet in profile.facets.items()})
    find_constants(proposal, profile)
    find_identifiers(proposal, profile)
    find_leaks(proposal, profile, target, leak_roc_auc)
    find_texts(proposal, profile)
    find_telling_gaps(proposal, profile)
    find_sentinels(proposal, profile)
    find_spellings(proposal, profile)
    find_rare_categories(proposal, profile)
    find_dates(proposal, profile)
    for name, facet in profile.facets.items():
        record_limits(proposal, name, facet, profile.rows)
    proposal.findings.sort(key=lambda finding: finding.rank)
    return proposal


def find_constants(proposal: Proposal, profile: Profile) -> None:
    for name, facet in profile.facets.items():
        if facet.distinct <= 1 and not facet.missing:
            proposal.exclude(name, "constant: one value in all rows")
        elif facet.distinct == 0:
            proposal.exclude(name, "always empty")
        elif facet.inferred.column.type in ("identifier", "text"):
            continue  # which are grouped by their order
        elif facet.top_share >= _NEARLY_CONSTANT and not _rest_tells(facet, profile):
            note = f"nearly constant: {facet.top_share:.2%} of the rows have one value"
            proposal.exclude(name, f"{note}, and the others tell nothing of the target")


def _rest_tells(facet: Facet, profile: Profile) -> bool:
    """Whether the rows without the most frequent value leave more or less often than others."""
    rows, positives = facet.rest
    rate = profile.positive_rate
    chance = np.sqrt(rows * rate * (1 - rate))
    return bool(abs(positives - rows * rate) > _STANDARD_ERRORS * chance)


def find_duplicates(distinct: pl.DataFrame, count: int, id_column: str | None) -> list[Finding]:
    """Rows that are there more than once, and customers whose rows contradict one another.

    `distinct` are the table's different rows without their target, `count` the copies of them.
    """
    findings = []
    if count:
        said = f"{count:,} exact duplicate row{'s' if count > 1 else ''}"
        said += f" of {distinct.height + count:,}; prepare_data.py drops them"
        findings.append(Finding(3, said))
    # Rows that differ in nothing but the target, which is not here.
    conflicts = int(repeated(distinct).sum())
    if conflicts:
        said = (
            f"{conflicts:,} rows are equal to another one in all but the target: customers whom"
            " these columns cannot tell apart, or labels that are wrong; kept"
        )
        findings.append(Finding(3, said))
    if id_column:
        ids = distinct[id_column].str.strip_chars()
        repeats = len(ids) - ids.n_unique()
        if repeats:
            said = (
                f"{id_column}: {repeats:,} rows have the id of another row; all rows of one id"
                " stand in one split"
            )
            findings.append(Finding(4, said))
    return findings


def find_texts(proposal: Proposal, profile: Profile) -> None:
    for name, column in proposal.columns.items():
        if column.type == "text" and not column.note:
            facet = profile.facets[name]
            rest = f"{facet.distinct:,} different texts in {profile.rows - facet.missing:,} rows"
            proposal.exclude(name, f"free text or too many categories: {rest}")


def find_telling_gaps(proposal: Proposal, profile: Profile) -> None:
    for name in proposal.features():
        facet = profile.facets[name]
        if facet.missing and profile.is_telling(facet.missing_roc_auc):
            stays, leaves = facet.missing_rates
            said = (
                f"{name}: whether it is missing tells the target: missing for {leaves:.1%} of those"
                f" who leave and {stays:.1%} of those who stay; kept, with missing as a value of"
                " its own: make sure that it is missing before the outcome, not because of it"
            )
            proposal.findings.append(Finding(2, said))


def find_sentinels(proposal: Proposal, profile: Profile) -> None:
    """Numbers such as -1 and 999 far from all others, and words for "nothing" among categories."""
    for name in proposal.features():
        column, numbers = proposal.columns[name], profile.facets[name].inferred.numbers
        if column.type in NUMBERS and numbers is not None:
            for value, rows in _sentinels(numbers):
                texts = (*proposal.columns[name].missing_values, f"{value:g}")
                column = revised(proposal.columns[name], missing_values=texts, nullable=True)
                proposal.columns[name] = column
                said = f"{name}: {value:g} in {rows:,} rows, far from all others; counts as missing"
                proposal.findings.append(Finding(4, f"{said} (missing_values)"))
        for text in column.missing_values if not numbers_only(column) else ():
            said = f"{name}: {text!r} counts as missing (missing_values)"
            proposal.findings.append(Finding(4, said))
        if column.type == "category":
            words = [value for value in column.values if value.casefold() in _VAGUE]
            if words:
                said = f"{name}: {', '.join(map(repr, words))} may mean missing; kept as a category"
                proposal.findings.append(Finding(5, said))


_VAGUE = frozenset({"unknown", "n/a", "not available", "missing", "undefined", "unk"})


def numbers_only(column: Column) -> bool:
    return len(column.missing_numbers) == len(column.missing_values)


def _sentinels(numbers: pl.Series) -> list[tuple[float, int]]:
    """Which of the usual stand-ins for "missing" occur often and apart from all other values."""
    usual = numbers.is_in(sorted(_SENTINELS))
    counts: dict[float, int] = dict(numbers.filter(usual).value_counts().iter_rows())
    frequent = sorted(value for value, rows in counts.items() if rows >= _SENTINEL_ROWS)
    if not frequent:
        return []
    others = numbers.filter(~usual).drop_nulls()
    if others.n_unique() < 3:
        return []
    low, high = value_range(others)
    return [
        (value, counts[value])
        for value in frequent
        if (value < 0 <= low) or value > max(2 * high, high + (high - low))
    ]


def find_spellings(proposal: Proposal, profile: Profile) -> None:
    for name in proposal.features():
        column = proposal.columns[name]
        if column.type != "category":
            continue
        counts = profile.facets[name].inferred.counts
        groups = spelt_alike(counts)
        if groups:
            others = {text for group in groups for text in group[1:]}
            values = tuple(value for value in column.values if value not in others)
            proposal.columns[name] = revised(column, values=values, fold=True)
            shown = "; ".join(" = ".join(map(repr, group)) for group in groups[:3])
            more = f"; and {len(groups) - 3} more" if len(groups) > 3 else ""
            said = f"{name}: the same but for case, space or accent: {shown}{more}; merged (fold)"
            proposal.findings.append(Finding(3, said))
            if len(values) == 1:
                proposal.exclude(name, "constant: one value, written in several ways")


def find_rare_categories(proposal: Proposal, profile: Profile) -> None:
    single = {}
    for name in proposal.features():
        if proposal.columns[name].type == "category":
            rows = profile.facets[name].inferred.counts.values()
            count = sum(number == 1 for number in rows)
            if count:
                single[name] = count
    if single:
        shown = ", ".join(f"{name} ({count:,})" for name, count in single.items())
        said = f"categories with one row only: {shown}; the model takes rare ones together"
        proposal.findings.append(Finding(6, said))


def find_dates(proposal: Proposal, profile: Profile) -> None:
    for name in proposal.features():
        if proposal.columns[name].type == "date":
            said = (
                f"{name}: a date, used as its days since 1970; in later snapshots it will lie"
                " outside the training range: an age or a duration is the better feature"
            )
            proposal.findings.append(Finding(5, said))


def record_limits(proposal: Proposal, name: str, facet: Facet, rows: int) -> None:
    """What the schema records of the column as it is: a lower limit of 0, the missing rate."""
    column, numbers = proposal.columns[name], facet.inferred.numbers
    changes: dict[str, Any] = {}
    missing = facet.missing
    if column.type in NUMBERS and numbers is not None:
        stand_ins = column.missing_numbers
        present = numbers.drop_nulls().filter(~numbers.drop_nulls().is_in(sorted(stand_ins)))
        missing = rows - len(present)
        if len(present) and float(present.min()) >= 0:  # type: ignore[arg-type]
            changes["min"] = 0.0
    if column.use and missing:
        changes |= {"nullable": True, "missing_rate": float(f"{missing / rows:.3g}")}
    if column.use and not missing:
        changes["nullable"] = False
    proposal.columns[name] = revised(column, **changes)
