"""Metrics on resampled rows, many resamples at once: what intervals and comparisons are made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Floats = NDArray[np.float64]

BINS = 10

_EPS = float(np.finfo(np.float64).eps)


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


def bin_numbers(probabilities: Probabilities) -> NDArray[np.intp]:
    edges = np.quantile(probabilities, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, probabilities)


def draws(rng: np.random.Generator, resamples: int, rows: int) -> Floats:
    """How often each of `resamples` resamples draws each row, shape (resamples, rows)."""
    drawn = rng.integers(0, rows, (resamples, rows))
    drawn += np.arange(resamples)[:, None] * rows
    counted = np.bincount(drawn.ravel(), minlength=resamples * rows)
    return counted.reshape(resamples, rows).astype(np.float64)


@dataclass(frozen=True)
class Rows:
    """Rows by rising probability: whether each is `positive` (0 or 1), where each group of equal
    probabilities begins (`ties`), and what each adds to the sums that metrics are made of."""

    positive: Floats
    ties: NDArray[np.intp]
    names: tuple[str, ...]
    summands: Floats

    @classmethod
    def of(
        cls, target: Labels, probabilities: Probabilities, threshold: float, costs: Costs | None
    ) -> "Rows":
        prediction = (probabilities >= threshold).astype(np.int64)
        clipped = np.clip(probabilities, _EPS, 1 - _EPS)  # as scikit-learn's log_loss does
        number = bin_numbers(probabilities)
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


def measure(drawn: Floats, rows: Rows) -> dict[str, Floats]:
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


def _roc_auc(drawn: Floats, rows: Rows) -> Floats:
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
