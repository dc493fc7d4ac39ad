"""Columns that hold the answer: what is known only after the outcome, or an older model's score.

Numbers that decide are constants of this module, so that a reader can argue with them.
"""

import numpy as np
from numpy.typing import NDArray

from churn.column import NUMBERS
from churn.identifiers import words_of
from churn.profile import Facet, Profile
from churn.proposal import Finding, Proposal

LEAK_ROC_AUC = 0.95
"""A column that alone reaches this ROC-AUC is excluded as a leak suspect."""

_FEW_VALUES, _FEWER_ROC_AUC = 10, 0.05  # … with so few values so much earlier
_NAMED_LEAK_ROC_AUC = 0.8  # … and one that is named like the target, this
_STRONG_ROC_AUC = 0.88  # … and one that reaches this is named, and kept
_ONE_SIDED_SHARE = 0.2  # of a class has a value that nobody of the other has …
_ONE_SIDED_ROWS = 50  # … of whom so many would have it by chance
_SCORE_ROC_AUC = 0.65
_ADDED = 0.03  # all other columns together add less than this share of what a score tells
_AHEAD = 0.03  # of ROC-AUC: a score is that far ahead of every column it is made of
_SCORE_WORDS = frozenset(
    {"score", "prob", "probability", "proba", "pred", "prediction", "predicted", "propensity"}
    | {"likelihood", "risk", "forecast", "logit"}
)


def find_leaks(proposal: Proposal, profile: Profile, target: str, leak_roc_auc: float) -> None:
    """Columns that hold the answer: what is known only afterwards, or an older model's score.

    What is like a score is judged last, beside the columns that are left.
    """
    target_words = {word for word in words_of(target) if len(word) > 2}
    for name in proposal.undecided():
        facet = profile.facets[name]
        named = bool(target_words.intersection(words_of(name)))
        _exclude(proposal, name, _evidence(facet, profile, named, leak_roc_auc))
    judged = Sufficiency(profile, proposal.undecided())
    for name in proposal.undecided():
        facet = profile.facets[name]
        shown = f"ROC-AUC {facet.roc_auc:.3f} alone"
        named = bool(_SCORE_WORDS.intersection(words_of(name)))
        if facet.roc_auc >= _SCORE_ROC_AUC and judged.is_sufficient(name, named):
            rest = "the other columns, which tell the target too, add nothing to it"
            _exclude(proposal, name, f"{shown}, and like a score: {rest}")
        elif facet.roc_auc >= _STRONG_ROC_AUC:
            said = f"{name}: {shown}, much for one column; kept: is it known before the outcome?"
            proposal.findings.append(Finding(1, said))


def _exclude(proposal: Proposal, name: str, evidence: str) -> None:
    if evidence:
        note = f"leak suspect: {evidence}"
        proposal.exclude(name, note)
        said = f"{name}: {note}; excluded (`use: yes` in data/schema.yaml brings it back)"
        proposal.findings.append(Finding(1, said))


def _evidence(facet: Facet, profile: Profile, named: bool, leak_roc_auc: float) -> str:
    """Why a column is taken for a leak by what it tells alone, or an empty text."""
    shown = f"ROC-AUC {facet.roc_auc:.3f} alone"
    if facet.roc_auc >= leak_roc_auc:
        return shown
    if 0 < facet.distinct <= _FEW_VALUES and facet.roc_auc >= leak_roc_auc - _FEWER_ROC_AUC:
        return f"{shown}, with {facet.distinct} values only"
    if one_sided := _one_sided(facet, profile):
        return one_sided
    if named and facet.roc_auc >= _NAMED_LEAK_ROC_AUC:
        return f"{shown}, and named like the target"
    if facet.roc_auc >= _SCORE_ROC_AUC and _is_calibrated(facet, profile):
        return f"{shown}, and its values are probabilities of the target"
    return ""


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

    def is_sufficient(self, name: str, named_like_a_score: bool) -> bool:
        """Whether the others tell something of the target, and nothing that this one does not.

        What columns tell is by how much they lower the log loss. One that is not named like a
        score must be made of several others and be ahead of each: of two copies, neither is.
        """
        facet = self._facets[name]
        others = [other for other in self._facets.values() if other.name != name]
        telling = [other for other in others if self._profile.is_telling(other.roc_auc)]
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
