"""What in a table would make a model look better than it is, or worse: found, named with the
evidence, and handled in the schema that is proposed for the table.

Numbers that decide are constants of this module, so that a reader can argue with them.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from churn.column import NUMBERS, Column
from churn.inference import spelt_alike
from churn.profile import Facet, Profile
from churn.table import repeated

LEAK_ROC_AUC = 0.95
"""A column that alone reaches this ROC-AUC is excluded as a leak suspect."""

_FEW_VALUES, _FEW_VALUES_ROC_AUC = 10, 0.9  # … and one with so few values that reaches this
_NAMED_LEAK_ROC_AUC = 0.8  # … and one that is named like the target or a score, this
_STRONG_ROC_AUC = 0.88  # … and one that reaches this is named, and kept
_ONE_SIDED_SHARE = 0.2  # of a class has a value that nobody of the other has …
_ONE_SIDED_ROWS = 50  # … of whom so many would have it by chance
_SCORE_ROC_AUC = 0.65
_ADDED = 0.03  # all other columns together add less than this share of what a score tells
_AHEAD = 0.03  # of ROC-AUC: a score is that far ahead of every column it is made of
_TELLING = 0.05  # of ROC-AUC above 0.5: what an id or a missing value may not tell
_STANDARD_ERRORS = 5
_NEARLY_CONSTANT = 0.99
_UNIQUE = 0.95
_SENTINELS = {-1.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0, -9.0, -99.0, -999.0, -9999.0, -99999.0}
_SENTINEL_ROWS = 5

_ID_WORDS = frozenset({"id", "ids", "uuid", "guid", "key", "index", "idx", "rowid", "rownumber"})
_PERSON = re.compile(
    r"(customer|client|user|account|acct|member|subscriber|person|kunden?|abonn[eé]|card|policy)s?"
    r"(id|no|nr|num|number|nummer|numero|key|code|ref)?"
)
_NAMES_A_PERSON = re.compile(
    rf"{_PERSON.pattern}|n(o|r|um|umero)?{_PERSON.pattern}|msisdn|phone|e?mail"
)
_SCORE_WORDS = frozenset(
    {"score", "prob", "probability", "proba", "pred", "prediction", "predicted", "propensity"}
    | {"likelihood", "risk", "forecast", "logit"}
)


@dataclass(frozen=True)
class Finding:
    """Something that a person should know: what, with the evidence, and what was done about it.

    `rank` orders findings, the gravest (1) first.
    """

    rank: int
    said: str


@dataclass
class Proposal:
    """The columns as they are proposed for data/schema.yaml, the id, and what was found."""

    columns: dict[str, Column]
    id: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def exclude(self, name: str, note: str, **changes: Any) -> None:
        """Make a column no feature, for the reason in `note`."""
        self.columns[name] = revised(self.columns[name], use=False, note=note, **changes)

    def features(self) -> list[str]:
        """The columns that are features so far."""
        return [name for name, column in self.columns.items() if column.use]

    def undecided(self) -> list[str]:
        """The columns that no trap has excluded yet, those of texts among them."""
        return [name for name, column in self.columns.items() if not column.note]


def revised(column: Column, **changes: Any) -> Column:
    """The column with some keys changed, checked like one that is read from a file."""
    return Column.model_validate(column.model_dump() | changes)


def settle(
    table: pl.DataFrame, profile: Profile, target: str, leak_roc_auc: float = LEAK_ROC_AUC
) -> Proposal:
    """Look for each trap in turn; what one excludes, the later ones leave alone.

    `table` holds the profile's rows as texts, without the target.
    """
    proposal = Proposal({name: facet.inferred.column for name, facet in profile.facets.items()})
    find_constants(proposal, profile)
    find_identifiers(proposal, profile, table)
    find_leaks(proposal, profile, target, leak_roc_auc)
    find_texts(proposal, profile)
    find_telling_gaps(proposal, profile)
    find_sentinels(proposal, profile, table)
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


def words_of(name: str) -> list[str]:
    """The words of a column's name: "customerID" and "Customer Id" are customer and id."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word for word in re.split(r"[^0-9a-zà-ÿ]+", spaced.lower()) if word]


def find_identifiers(proposal: Proposal, profile: Profile, table: pl.DataFrame) -> None:
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
        if _is_telling(facet.roc_auc, profile):
            said = (
                f"{name}: its order alone tells the target, ROC-AUC {facet.roc_auc:.3f}: the rows"
                " or the numbers were assigned by outcome or in time; it is no feature, but ask"
                " what else was sorted like it"
            )
            proposal.findings.append(Finding(2, said))
    if candidates:
        proposal.id = max(candidates, key=lambda candidate: candidate[0])[1]


_NO_NUMBER: dict[str, Any] = {"values": (), "decimal": ".", "thousands": "", "format": ""}


def _is_telling(roc_auc: float, profile: Profile) -> bool:
    return roc_auc - 0.5 > max(_TELLING, _STANDARD_ERRORS * profile.chance())


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
    low, high = (len(f"{abs(value):.0f}") for value in _range(numbers))
    return low == high >= 6 and not 1e9 <= abs(_range(numbers)[0]) < 2e9


def _range(numbers: pl.Series) -> tuple[float, float]:
    present = numbers.drop_nulls().to_numpy()
    return float(present.min()), float(present.max())


def _repeats_too_little(facet: Facet, present: int) -> bool:
    """Whether whole numbers repeat far less often than numbers drawn from their range would.

    Of n draws from r numbers, about n²/2r meet one that was drawn before (the birthday problem).
    """
    numbers = facet.inferred.numbers
    if numbers is None:
        return False
    low, high = _range(numbers)
    expected = present**2 / (2 * (high - low + 1))
    return expected >= 5 and present - facet.distinct <= expected / 20


def _likeness_to_an_id(name: str, facet: Facet, rows: int) -> int:
    words = words_of(name)
    unique = facet.distinct == rows - facet.missing
    person = _PERSON.search("".join(words)) is not None
    return 4 * bool(set(words) & _ID_WORDS) + 2 * person + unique


def find_leaks(proposal: Proposal, profile: Profile, target: str, leak_roc_auc: float) -> None:
    """Columns that hold the answer: what is known only afterwards, or an older model's score."""
    target_words = {word for word in words_of(target) if len(word) > 2}
    judged = Sufficiency(profile, proposal.undecided())
    for name in proposal.undecided():
        facet = profile.facets[name]
        words = set(words_of(name))
        shown = f"ROC-AUC {facet.roc_auc:.3f} alone"
        one_sided = _one_sided(facet, profile)
        few = 0 < facet.distinct <= _FEW_VALUES
        if facet.roc_auc >= leak_roc_auc:
            note = f"leak suspect: {shown}"
        elif few and facet.roc_auc >= min(_FEW_VALUES_ROC_AUC, leak_roc_auc):
            note = f"leak suspect: {shown}, with {facet.distinct} values only"
        elif one_sided:
            note = f"leak suspect: {one_sided}"
        elif facet.roc_auc >= _NAMED_LEAK_ROC_AUC and words & target_words:
            note = f"leak suspect: {shown}, and named like the target"
        elif facet.roc_auc >= _SCORE_ROC_AUC and _is_calibrated(facet, profile):
            note = f"leak suspect: {shown}, and its values are probabilities of the target"
        elif facet.roc_auc >= _SCORE_ROC_AUC and judged.is_sufficient(name, words & _SCORE_WORDS):
            rest = "the other columns, which tell the target too, add nothing to it"
            note = f"leak suspect: {shown}, and like a score: {rest}"
        elif facet.roc_auc >= _STRONG_ROC_AUC:
            said = f"{name}: {shown}, much for one column; kept: is it known before the outcome?"
            proposal.findings.append(Finding(1, said))
            continue
        else:
            continue
        proposal.exclude(name, note)
        said = f"{name}: {note}; excluded (`use: yes` in data/schema.yaml brings it back)"
        proposal.findings.append(Finding(1, said))


def _one_sided(facet: Facet, profile: Profile) -> str:
    """A value, or that there is one or none, which many of one class share with none of the other.

    What is known before an outcome has exceptions; what is written down because of it has none.
    Of those who stay only gaps count: that nobody leaves from a small group is not so rare.
    """
    totals = np.bincount(profile.target, minlength=2)
    for said, of_classes in facet.by_value.items():
        for label, word in ((1, "leave"), (0, "stay")):
            rows, others = of_classes[label], of_classes[1 - label]
            share = rows / max(totals[label], 1)
            expected = rows * totals[1 - label] / max(totals[label], 1)
            if label == 0 and not said.endswith(("missing", "a value")):
                continue
            if others == 0 and share >= _ONE_SIDED_SHARE and expected >= _ONE_SIDED_ROWS:
                return f"{said} for {share:.0%} of those who {word} and for no others"
    return ""


def _is_calibrated(facet: Facet, profile: Profile) -> bool:
    """Whether the values are probabilities of the target, 0 to 1 or in per cent.

    Their mean is the base rate, and a logistic regression of the target on their log-odds has a
    slope near 1 and an intercept near 0 (Cox's calibration regression).
    """
    numbers = facet.inferred.numbers
    if numbers is None or facet.inferred.column.type not in NUMBERS or facet.distinct < 20:
        return False
    values = numbers.to_numpy()[profile.sample]
    target = profile.target[profile.sample]
    present = np.isfinite(values)
    values, target = values[present], target[present]
    if len(values) < 100 or values.min() < 0 or values.max() > 100:
        return False
    probability = np.clip(values / (100 if values.max() > 1 else 1), 1e-3, 1 - 1e-3)
    # A score of staying is as much of a leak as one of leaving.
    return _calibrates(probability, target) or _calibrates(1 - probability, target)


def _calibrates(probability: NDArray[np.float64], target: NDArray[np.int64]) -> bool:
    log_odds = np.log(probability / (1 - probability))
    intercept, slope = logistic(log_odds[:, None], target)
    error = np.sqrt(target.mean() * (1 - target.mean()) / len(target))
    return bool(
        abs(probability.mean() - target.mean()) < 0.02 + 3 * error
        and 0.6 <= slope <= 1.6
        and abs(intercept) <= 0.5
    )


class Sufficiency:
    """Whether a column already holds what all other columns together tell of the target."""

    def __init__(self, profile: Profile, names: list[str]) -> None:
        self._profile = profile
        self._target = profile.target[profile.sample]
        self._facets = {name: profile.facets[name] for name in names}
        self._base = self._log_loss([np.zeros(len(self._target))])

    def is_sufficient(self, name: str, named_like_a_score: object = None) -> bool:
        """Whether the others tell something of the target, and nothing that this one does not.

        What columns tell is by how much they lower the log loss. One that is not named like a
        score must be made of several others and be ahead of each: of two copies, neither is.
        """
        facet = self._facets[name]
        others = [other for other in self._facets.values() if other.name != name]
        telling = [other for other in others if _is_telling(other.roc_auc, self._profile)]
        ahead = facet.roc_auc - max((other.roc_auc for other in others), default=1.0)
        if facet.distinct < 20 or not telling:
            return False
        if not named_like_a_score and (len(telling) < 3 or ahead < _AHEAD):
            return False
        told = [other.log_odds for other in others]
        curve = [facet.log_odds, *(facet.places**power for power in (1, 2, 3))]
        alone = self._log_loss(curve)
        gained = self._base - alone
        added = alone - self._log_loss([*curve, *told])
        return self._base - self._log_loss(told) > gained / 4 and added < _ADDED * gained

    def _log_loss(self, columns: list[NDArray[np.float64]]) -> float:
        """That of a logistic regression, fitted on each half of the sample, on the other half."""
        features = np.column_stack(columns)
        halves = np.arange(len(features)) % 2
        losses = []
        for half in (0, 1):
            weights = logistic(features[halves != half], self._target[halves != half])
            score = weights[0] + features[halves == half] @ weights[1:]
            losses.append(np.logaddexp(0, np.where(self._target[halves == half], -score, score)))
        return float(np.concatenate(losses).mean())


def logistic(features: NDArray[np.float64], target: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intercept and weights of a logistic regression by Newton's method, with a little ridge.

    It is here, and not scikit-learn's, because importing that takes longer than all of this.
    """
    design = np.column_stack([np.ones(len(features)), features])
    ridge = np.eye(design.shape[1])
    ridge[0, 0] = 0.0
    weights = np.zeros(design.shape[1])
    for _ in range(25):
        probability = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (target - probability) - ridge @ weights
        hessian = (design.T * np.maximum(probability * (1 - probability), 1e-9)) @ design + ridge
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        weights = weights + step
        if np.abs(step).max() < 1e-6:
            break
    return weights


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
        if facet.missing and _is_telling(facet.missing_roc_auc, profile):
            stays, leaves = facet.missing_rates
            said = (
                f"{name}: whether it is missing tells the target: missing for {leaves:.1%} of those"
                f" who leave and {stays:.1%} of those who stay; kept, with missing as a value of"
                " its own: make sure that it is missing before the outcome, not because of it"
            )
            proposal.findings.append(Finding(2, said))


def find_sentinels(proposal: Proposal, profile: Profile, table: pl.DataFrame) -> None:
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
    low, high = _range(others)
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
