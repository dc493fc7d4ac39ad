"""How well a model answers: metrics, their intervals, and what naive answers score."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Resampled = NDArray[Any]
"""Rows resampled along the last axis, as scipy's bootstrap hands them over, or a figure of each."""

RESAMPLES = 1000
CONFIDENCE = 0.95


def score(target: Labels, probabilities: Probabilities, threshold: float) -> dict[str, float]:
    """The metrics of DVC's and MLflow's tables, each a float.

    `target` (0 or 1) and `probabilities` (0 to 1) have shape (rows,); f1, accuracy, precision and
    recall are those of the prediction `probability >= threshold`.
    """
    prediction = (probabilities >= threshold).astype(int)
    return {
        "f1": float(sk.f1_score(target, prediction, zero_division=0.0)),
        "accuracy": float(sk.accuracy_score(target, prediction)),
        "precision": float(sk.precision_score(target, prediction, zero_division=0.0)),
        "recall": float(sk.recall_score(target, prediction, zero_division=0.0)),
        "roc_auc": float(sk.roc_auc_score(target, probabilities)),
        "log_loss": float(sk.log_loss(target, probabilities)),
        "brier": float(sk.brier_score_loss(target, probabilities)),
    }


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


def intervals(
    target: Labels, probabilities: Probabilities, threshold: float, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals by the percentile bootstrap over rows: f1, roc_auc, and f1_over_naive.

    `f1_over_naive` is the F1 less that of the best naive answer, both on the same resampled rows.
    A resample in which one class is missing has no ROC-AUC and is left out there.
    """
    prediction = (probabilities >= threshold).astype(int)
    measures: dict[str, tuple[Any, tuple[NDArray[Any], ...]]] = {
        "f1": (_f1, (target, prediction)),
        "f1_over_naive": (_f1_over_naive, (target, prediction)),
        "roc_auc": (_roc_auc, (target, probabilities)),
    }
    return {
        name: _interval(measure, columns, seed) for name, (measure, columns) in measures.items()
    }


def flat(intervals: dict[str, tuple[float, float]]) -> dict[str, float]:
    """The intervals as one flat object: <metric>_low and <metric>_high."""
    ends = ("low", "high")
    return {
        f"{name}_{end}": value
        for name, interval in intervals.items()
        for end, value in zip(ends, interval, strict=True)
    }


def _interval(measure: Any, columns: tuple[NDArray[Any], ...], seed: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        # scipy speaks of BCa intervals, which these are not, where a resample has no value.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        resamples = stats.bootstrap(
            columns,
            measure,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            # 100 resamples at once hold 100 × rows values in memory.
            batch=100,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    outside = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(resamples, [outside, 1 - outside])
    return float(low), float(high)


def _f1(target: Resampled, prediction: Resampled, axis: int = -1) -> Resampled:
    found = (target * prediction).sum(axis)
    f1: Resampled = 2 * found / np.maximum(target.sum(axis) + prediction.sum(axis), 1)
    return f1


def _f1_over_naive(target: Resampled, prediction: Resampled, axis: int = -1) -> Resampled:
    # By the same arithmetic, so that a model which calls all positive gains exactly nothing.
    return _f1(target, prediction, axis) - _f1(target, np.ones_like(target), axis)


def _roc_auc(target: Resampled, probabilities: Resampled, axis: int = -1) -> Resampled:
    """ROC-AUC as the Mann-Whitney statistic: the mean rank of the positives, ties halved."""
    ranks = stats.rankdata(probabilities, axis=axis)
    positives = target.sum(axis)
    negatives = target.shape[axis] - positives
    with np.errstate(invalid="ignore", divide="ignore"):
        above = (ranks * target).sum(axis) - positives * (positives + 1) / 2
        auc: Resampled = above / (positives * negatives)
    return auc
