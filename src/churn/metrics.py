"""How well a model answers: metrics, their intervals, what naive answers score, and what a
retention team gets out of it."""

import math
from dataclasses import dataclass

import numpy as np

from churn.resampling import (
    Costs,
    Floats,
    Labels,
    Probabilities,
    Rows,
    bin_numbers,
    draws,
    measure,
)

Intervals = dict[str, tuple[float, float]]

RESAMPLES = 1000
CONFIDENCE = 0.95
SCORES = ("f1", "accuracy", "precision", "recall", "roc_auc", "log_loss", "brier")
DECILES = 10

_Z = 1.959963984540054  # the normal quantile of CONFIDENCE, two-sided
# Resampled rows that are held at once. With four times as many it takes two to six times as long:
# memory that is new to the process costs more than the arithmetic in it.
_BATCH = 50_000


@dataclass(frozen=True)
class Bin:
    """Rows with about the same probability: the mean of it (`predicted`), the share of positives
    (`observed`) and that share's 95 % interval, each 0 to 1."""

    rows: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class Decile:
    """A tenth of the customers, 1 being those with the highest probabilities.

    `lowest` is the lowest probability in it, `rows` and `positives` are rounded so that all ten add
    up. `lift` is its share of positives over that of all rows, and `gain` the share of all
    positives, 0 to 1, that stand in this decile and those above it.
    """

    number: int
    rows: int
    positives: int
    lowest: float
    lift: float
    gain: float


def score(target: Labels, probabilities: Probabilities, threshold: float) -> dict[str, float]:
    """The metrics of DVC's and MLflow's tables, each a float.

    `target` (0 or 1) and `probabilities` (0 to 1) have shape (rows,); f1, accuracy, precision and
    recall are those of the prediction `probability >= threshold`, and 0 where they are 0 / 0. Where
    a class is missing, roc_auc is NaN.
    """
    order = np.argsort(probabilities, kind="stable")
    measured = measure(
        np.ones((1, len(target))), Rows.of(target[order], probabilities[order], threshold, None)
    )
    return {name: float(measured[name][0]) for name in SCORES}


def naive_f1(positive_rate: float) -> dict[str, float]:
    """The F1 of answers that look at no feature, where `positive_rate` of the rows are positive.

    `prior` calls each row positive with that probability: its expected precision and recall are
    both the rate, and so is its F1. All positive has precision `rate` and recall 1.
    """
    return {
        "all positive": 2 * positive_rate / (1 + positive_rate),
        "all negative": 0.0,
        "prior": positive_rate,
    }


def naive(positive_rate: float) -> dict[str, float]:
    """What answers that look at no feature score where `positive_rate`, above 0 and below 1, of the
    rows are positive: calling all positive, always the more frequent class, or giving each row the
    rate as its probability. They know the rate of the very rows they are scored on.
    """
    f1 = naive_f1(positive_rate)
    negative_rate = 1 - positive_rate
    return {
        "naive_f1_all_positive": f1["all positive"],
        "naive_f1_prior": f1["prior"],
        "naive_accuracy_majority": max(positive_rate, negative_rate),
        "naive_precision_all_positive": positive_rate,
        "naive_roc_auc": 0.5,
        "naive_log_loss_prior": -(
            positive_rate * math.log(positive_rate) + negative_rate * math.log(negative_rate)
        ),
        "naive_brier_prior": positive_rate * negative_rate,
    }


def cost(
    target: Labels, probabilities: Probabilities, threshold: float, costs: Costs
) -> dict[str, float]:
    """What mistakes cost per customer: at the threshold by cost, at `threshold` (the one by F1), of
    calling nobody and of calling everybody; and what the first saves against the better of the
    last two. With the share of customers, 0 to 1, that each threshold calls, and the share of the
    leavers that the one by cost finds (the other's is the recall)."""
    rate = float(target.mean())
    nobody, everybody = rate * costs.false_negative, (1 - rate) * costs.false_positive
    by_cost, by_f1 = (
        (probabilities >= chosen).astype(np.int64) for chosen in (costs.threshold, threshold)
    )
    cost_by_cost, cost_by_f1 = (
        float(costs.per_row(target, prediction).mean()) for prediction in (by_cost, by_f1)
    )
    return {
        "cost_threshold": costs.threshold,
        "cost_per_customer": cost_by_cost,
        "cost_per_customer_f1_threshold": cost_by_f1,
        "cost_per_customer_nobody": nobody,
        "cost_per_customer_everybody": everybody,
        "cost_saved": min(nobody, everybody) - cost_by_cost,
        "called_cost_threshold": float(by_cost.mean()),
        "called_f1_threshold": float(by_f1.mean()),
        "recall_cost_threshold": float((target * by_cost).sum() / target.sum()),
    }


def cost_curve(
    target: Labels, probabilities: Probabilities, thresholds: Floats, costs: Costs
) -> Floats:
    """What mistakes cost per customer at each threshold; same shape as `thresholds`."""
    order = np.argsort(probabilities, kind="stable")
    uncalled = np.searchsorted(probabilities[order], thresholds)
    missed = np.concatenate([[0], np.cumsum(target[order])])[uncalled]
    disturbed = (len(target) - uncalled) - (target.sum() - missed)
    curve: Floats = missed * costs.false_negative + disturbed * costs.false_positive
    return curve / len(target)


def calibration(target: Labels, probabilities: Probabilities) -> list[Bin]:
    """Up to BINS bins of equally many rows, by rising probability; equal probabilities stay
    together, so that fewer and unequal bins remain where many are equal."""
    number = bin_numbers(probabilities)
    found = []
    for bin_ in np.unique(number):
        inside = number == bin_
        rows, positives = int(inside.sum()), int(target[inside].sum())
        low, high = proportion_interval(positives, rows)
        found.append(Bin(rows, float(probabilities[inside].mean()), positives / rows, low, high))
    return found


def calibration_error(target: Labels, probabilities: Probabilities) -> dict[str, float]:
    """The expected calibration error, 0 to 1, and what chance alone makes of it.

    `calibration_error` is the mean over the bins of calibration(), weighted by their rows, of
    |observed - predicted| (Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3,
    with bins of equal count). It is never negative, so a perfectly calibrated model shows some of
    it too: `calibration_error_chance` is what it would show on average with these probabilities,
    the mean of a half-normal for each bin.
    """
    number = bin_numbers(probabilities)
    variance = np.bincount(number, probabilities * (1 - probabilities))
    rows = len(target)
    return {
        "calibration_error": sum(
            bin_.rows / rows * abs(bin_.observed - bin_.predicted)
            for bin_ in calibration(target, probabilities)
        ),
        "calibration_error_chance": float(np.sqrt(variance * 2 / np.pi).sum() / rows),
    }


def proportion_interval(count: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of the share count / rows, by Wilson's score method (1927)."""
    share, square = count / rows, _Z**2 / rows
    centre = (share + square / 2) / (1 + square)
    reach = _Z / (1 + square) * math.sqrt(share * (1 - share) / rows + square / (4 * rows))
    return max(centre - reach, 0.0), min(centre + reach, 1.0)


def gain(target: Labels, probabilities: Probabilities, shares: Floats) -> Floats:
    """The share of all positives, 0 to 1, among the given shares of rows, highest probabilities
    first; same shape as `shares`.

    Among rows with equal probabilities every order is as good: they count in proportion, so that
    the order of the rows does not matter.
    """
    values, group = np.unique(-probabilities, return_inverse=True)
    rows = np.bincount(group, minlength=len(values))
    positives = np.bincount(group, target, minlength=len(values))
    found: Floats = np.interp(
        shares * len(target),
        np.concatenate([[0], np.cumsum(rows)]),
        np.concatenate([[0], np.cumsum(positives)]),
    )
    return found / target.sum()


def deciles(target: Labels, probabilities: Probabilities) -> list[Decile]:
    """The ten deciles, highest probabilities first; a row that stands across a border counts with
    its part on each side, so fewer than ten rows have ten deciles too."""
    ends = np.linspace(0, 1, DECILES + 1)
    gains = gain(target, probabilities, ends)
    rows = np.rint(ends * len(target)).astype(int)
    positives = np.rint(gains * target.sum()).astype(int)
    falling = -np.sort(-probabilities)
    last = np.maximum(np.ceil(ends * len(target) - 1e-9).astype(int) - 1, 0)
    return [
        Decile(
            number=end,
            rows=int(rows[end] - rows[end - 1]),
            positives=int(positives[end] - positives[end - 1]),
            lowest=float(falling[last[end]]),
            lift=float((gains[end] - gains[end - 1]) * DECILES),
            gain=float(gains[end]),
        )
        for end in range(1, DECILES + 1)
    ]


def flat_deciles(deciles: list[Decile]) -> dict[str, float]:
    """The deciles as one flat object: lift_decile_<number> and gain_decile_<number>."""
    lifts = {f"lift_decile_{decile.number}": decile.lift for decile in deciles}
    return lifts | {f"gain_decile_{decile.number}": decile.gain for decile in deciles}


def intervals(
    target: Labels,
    probabilities: Probabilities,
    threshold: float,
    seed: int,
    costs: Costs | None = None,
) -> Intervals:
    """95 % intervals by the percentile bootstrap over rows (Efron & Tibshirani 1993, chapter 13).

    Of the metrics of score(); of `f1_over_naive`, the F1 less that of the best naive answer on the
    same resampled rows; of `calibration_error`; and with `costs` of `cost_per_customer` and
    `cost_saved`. A resample in which one class is missing has no ROC-AUC and is left out there; a
    metric that no resample has is left out. The same rows and seed give the same intervals.
    """
    order = np.argsort(probabilities, kind="stable")
    resampled = _resampled(target[order], probabilities[order], threshold, seed, costs)
    outside = (1 - CONFIDENCE) / 2
    found = {}
    for name, values in resampled.items():
        present = values[~np.isnan(values)]
        if len(present):
            low, high = np.quantile(present, [outside, 1 - outside])
            found[name] = (float(low), float(high))
    return found | _without_lift(found, resampled, target, probabilities)


def flat(intervals: Intervals) -> dict[str, float]:
    """The intervals as one flat object: <metric>_low and <metric>_high."""
    ends = ("low", "high")
    return {
        f"{name}_{end}": value
        for name, interval in intervals.items()
        for end, value in zip(ends, interval, strict=True)
    }


def _without_lift(
    found: Intervals, resampled: dict[str, Floats], target: Labels, probabilities: Probabilities
) -> Intervals:
    """The interval of the calibration error around the error itself: resampling adds noise to each
    bin, and as no gap counts as negative, that lifts the error of every resample."""
    error = calibration_error(target, probabilities)["calibration_error"]
    lift = float(resampled["calibration_error"].mean()) - error
    low, high = found["calibration_error"]
    return {"calibration_error": (max(low - lift, 0.0), high - lift)}


def _resampled(
    target: Labels,
    probabilities: Probabilities,
    threshold: float,
    seed: int,
    costs: Costs | None,
) -> dict[str, Floats]:
    """Each metric on RESAMPLES resamples of the rows, which stand by rising probability."""
    rows = Rows.of(target, probabilities, threshold, costs)
    rng = np.random.default_rng(seed)
    at_once = max(4, _BATCH // len(target))
    parts = [
        measure(draws(rng, min(at_once, RESAMPLES - start), len(target)), rows)
        for start in range(0, RESAMPLES, at_once)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
