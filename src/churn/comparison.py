"""Challenger and champion on the same rows, and whether the challenger is worse."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from churn import metrics
from churn.resampling import Floats, Labels, Probabilities, Rows, draws, measure

COMPARED = ("roc_auc", "f1", "log_loss", "brier")
_LOWER_IS_BETTER = ("log_loss", "brier")
_AT_ONCE = 50_000  # as in metrics.py: how many resampled rows are held at once


@dataclass(frozen=True)
class Answers:
    """What a model says of the rows: `probabilities` (0 to 1), shape (rows,), and the threshold
    from which it calls a row positive."""

    probabilities: Probabilities
    threshold: float


@dataclass(frozen=True)
class Difference:
    """By how much the challenger is better (above 0) or worse (below 0) than the champion by one
    metric, with the ends of the 95 % interval; and the score of each."""

    metric: str
    challenger: float
    champion: float
    gain: float
    low: float
    high: float

    def worse_by_more_than(self, regression: float) -> bool:
        """Whether the whole interval lies below -regression: significantly worse by more."""
        return self.high < -regression

    def __str__(self) -> str:
        return (
            f"{self.metric} {self.challenger:.4f} against {self.champion:.4f}:"
            f" {self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        )


def compare(
    target: Labels, challenger: Answers, champion: Answers, seed: int
) -> dict[str, Difference]:
    """The difference by each metric of COMPARED, with its 95 % interval by the paired percentile
    bootstrap: both models are scored on the same resamples of the rows (Efron & Tibshirani 1993,
    chapters 10 and 13), so what they have in common cancels out.

    `target` (0 or 1) has shape (rows,) and both classes. The same rows and seed give the same.
    """
    both = (challenger, champion)
    exact = [metrics.score(target, each.probabilities, each.threshold) for each in both]
    ours, theirs = _resampled(target, both, seed)
    outside = (1 - metrics.CONFIDENCE) / 2
    found = {}
    for name in COMPARED:
        sign = -1 if name in _LOWER_IS_BETTER else 1
        gains = sign * (ours[name] - theirs[name])
        low, high = np.quantile(gains[~np.isnan(gains)], [outside, 1 - outside])
        challenged, held = (scored[name] for scored in exact)
        gain = sign * (challenged - held)
        found[name] = Difference(name, challenged, held, gain, float(low), float(high))
    return found


def flat(differences: Mapping[str, Difference]) -> dict[str, float]:
    """The differences as one flat object of numbers, such as roc_auc_gain and roc_auc_gain_low."""
    return {
        key: value
        for name, each in differences.items()
        for key, value in {
            name: each.challenger,
            f"{name}_champion": each.champion,
            f"{name}_gain": each.gain,
            f"{name}_gain_low": each.low,
            f"{name}_gain_high": each.high,
        }.items()
    }


def _resampled(target: Labels, answers: tuple[Answers, ...], seed: int) -> list[dict[str, Floats]]:
    """Each metric of each model on the same resamples; a resample draws the same rows for all."""
    orders = [np.argsort(each.probabilities, kind="stable") for each in answers]
    sorted_ = [
        Rows.of(target[order], each.probabilities[order], each.threshold, None)
        for each, order in zip(answers, orders, strict=True)
    ]
    rng = np.random.default_rng(seed)
    at_once = max(4, _AT_ONCE // len(target))
    parts: list[list[dict[str, Floats]]] = [[] for _ in answers]
    for start in range(0, metrics.RESAMPLES, at_once):
        drawn = draws(rng, min(at_once, metrics.RESAMPLES - start), len(target))
        for order, rows, part in zip(orders, sorted_, parts, strict=True):
            part.append(measure(drawn[:, order], rows))
    return [
        {name: np.concatenate([some[name] for some in part]) for name in COMPARED} for part in parts
    ]
