"""How well a model answers: metrics, their intervals, what naive answers score, and what a
retention team gets out of it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Floats = NDArray[np.float64]
Intervals = dict[str, tuple[float, float]]

RESAMPLES = 1000
CONFIDENCE = 0.95
SCORES = ("f1", "accuracy", "precision", "recall", "roc_auc", "log_loss", "brier")
BINS = 10
DECILES = 10

_Z = 1.959963984540054  # the normal quantile of CONFIDENCE, two-sided
_EPS = float(np.finfo(np.float64).eps)
# Resampled rows that are held at once. With four times as many it takes two to six times as long:
# memory that is new to the process costs more than the arithmetic in it.
_BATCH = 50_000


@dataclass(frozen=True)
class Costs:
    """What a mistake costs, 0 or more in any unit: a leaver whom nobody calls, and a stayer who is
    called. A right answer costs nothing; one of the two costs is above 0."""

    false_negative: float
    false_positive: float

    @property
    def threshold(self) -> float:
        """The threshold, 0 to 1, with the lowest expected cost where probabilities are calibrated.

        Calling a customer with probability p costs (1 - p) * false_positive, not calling costs
        p * false_negative; they are equal here (Elkan 2001, The Foundations of Cost-Sensitive
        Learning, equation 2). No row is looked at, so nothing is tuned on the test split.
        """
        return self.false_positive / (self.false_positive + self.false_negative)

    def per_row(self, target: Labels, prediction: Labels) -> Floats:
        """What each answer costs, shape (rows,)."""
        missed, disturbed = target * (1 - prediction), prediction * (1 - target)
        cost: Floats = missed * self.false_negative + disturbed * self.false_positive
        return cost


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
    measured = _measured(
        np.ones((1, len(target))), _Rows.of(target[order], probabilities[order], threshold, None)
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
    number = _bin_numbers(probabilities)
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
    number = _bin_numbers(probabilities)
    variance = np.bincount(number, probabilities * (1 - probabilities))
    rows = len(target)
    return {
        "calibration_error": sum(
            bin_.rows / rows * abs(bin_.observed - bin_.predicted)
            for bin_ in calibration(target, probabilities)
        ),
        "calibration_error_chance": float(np.sqrt(variance * 2 / np.pi).sum() / rows),
    }


def _bin_numbers(probabilities: Probabilities) -> NDArray[np.intp]:
    edges = np.quantile(probabilities, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, probabilities)


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
    rows = _Rows.of(target, probabilities, threshold, costs)
    rng = np.random.default_rng(seed)
    at_once = max(4, _BATCH // len(target))
    parts = [
        _measured(_draws(rng, min(at_once, RESAMPLES - start), len(target)), rows)
        for start in range(0, RESAMPLES, at_once)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _draws(rng: np.random.Generator, resamples: int, rows: int) -> Floats:
    """How often each of `resamples` resamples draws each row, shape (resamples, rows)."""
    drawn = rng.integers(0, rows, (resamples, rows))
    drawn += np.arange(resamples)[:, None] * rows
    counted = np.bincount(drawn.ravel(), minlength=resamples * rows)
    return counted.reshape(resamples, rows).astype(np.float64)


@dataclass(frozen=True)
class _Rows:
    """Rows by rising probability: whether each is `positive` (0 or 1), where each group of equal
    probabilities begins (`ties`), and what each adds to the sums that metrics are made of."""

    positive: Floats
    ties: NDArray[np.intp]
    names: tuple[str, ...]
    summands: Floats

    @classmethod
    def of(
        cls, target: Labels, probabilities: Probabilities, threshold: float, costs: Costs | None
    ) -> "_Rows":
        prediction = (probabilities >= threshold).astype(np.int64)
        clipped = np.clip(probabilities, _EPS, 1 - _EPS)  # as scikit-learn's log_loss does
        number = _bin_numbers(probabilities)
        summands: dict[str, NDArray[Any]] = {
            "positives": target,
            "predicted": prediction,
            "found": target * prediction,
            "log_loss": -np.log(np.where(target == 1, clipped, 1 - clipped)),
            "brier": (probabilities - target) ** 2,
        }
        for bin_ in np.unique(number):
            summands[f"gap {bin_}"] = (target - probabilities) * (number == bin_)
        if costs:
            by_cost = (probabilities >= costs.threshold).astype(np.int64)
            summands["cost"] = costs.per_row(target, by_cost)
            summands["nobody"] = target * costs.false_negative
            summands["everybody"] = (1 - target) * costs.false_positive
        ties = np.flatnonzero(np.diff(probabilities, prepend=-1.0))
        table = np.column_stack(list(summands.values())).astype(np.float64)
        return cls(target.astype(np.float64), ties, tuple(summands), table)


def _measured(drawn: Floats, rows: _Rows) -> dict[str, Floats]:
    """Each metric, shape (resamples,), on resamples that draw each row as often as `drawn`, shape
    (resamples, rows), says. Nearly all follow from weighted sums: one product of matrices."""
    sums = dict(zip(rows.names, (drawn @ rows.summands).T, strict=True))
    return _from_sums(sums, len(rows.positive)) | {"roc_auc": _roc_auc(drawn, rows)}


def _from_sums(sums: dict[str, Floats], rows: int) -> dict[str, Floats]:
    positives, predicted, found = sums["positives"], sums["predicted"], sums["found"]
    f1 = 2 * found / np.maximum(positives + predicted, 1)
    gaps = [abs(values) for name, values in sums.items() if name.startswith("gap ")]
    measured = {
        "f1": f1,
        # By the same arithmetic, so that a model which calls all positive gains exactly nothing.
        "f1_over_naive": f1 - 2 * positives / np.maximum(positives + rows, 1),
        "accuracy": (rows - positives - predicted + 2 * found) / rows,
        "precision": found / np.maximum(predicted, 1),
        "recall": found / np.maximum(positives, 1),
        "log_loss": sums["log_loss"] / rows,
        "brier": sums["brier"] / rows,
        "calibration_error": np.sum(gaps, axis=0) / rows,
    }
    if "cost" in sums:
        cost = sums["cost"] / rows
        best = np.minimum(sums["nobody"], sums["everybody"]) / rows
        measured |= {"cost_per_customer": cost, "cost_saved": best - cost}
    return measured


def _roc_auc(drawn: Floats, rows: _Rows) -> Floats:
    """ROC-AUC as the Mann-Whitney statistic: the share of pairs of a positive and a negative in
    which the positive stands higher, ties halved; NaN where a class is missing."""
    positive = drawn * rows.positive
    negative = drawn - positive
    if len(rows.ties) < len(rows.positive):
        positive = np.add.reduceat(positive, rows.ties, axis=1)
        negative = np.add.reduceat(negative, rows.ties, axis=1)
    below = np.cumsum(negative, axis=1)
    pairs = positive.sum(axis=1) * below[:, -1]
    below -= negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        auc: Floats = np.einsum("ij,ij->i", positive, below) / pairs
    return auc
