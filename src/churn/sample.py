"""The built-in sample: customers whose true churn probability is known.

It is the only module that names columns: everywhere else they come from data/schema.yaml.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = (
    "tenure_months",
    "num_complaints",
    "avg_session_minutes",
    "plan_type",
    "region",
    "churn",
)


@dataclass(frozen=True)
class BestScores:
    """What a model that knew each customer's true probability would reach."""

    positive_rate: float
    roc_auc: float
    f1: float
    threshold: float
    log_loss: float
    brier: float


def customers(
    count: int = 10_000, seed: int = 42
) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.float64]]:
    """`count` customers and the true probability that each of them leaves.

    Returns the columns by name, each of shape (count,), in the order of COLUMNS, and the
    probabilities, of shape (count,), from which `churn` (0 or 1) was drawn. The same count and
    seed give the same table.

    No model can score better on this population than the probabilities themselves:

        positive rate 0.270   ROC-AUC 0.860   F1 0.656 (at threshold 0.328)
        log loss 0.398   Brier 0.128

    as best_scores() computes them. Most of it is linear in the log-odds; a young customer who
    complains twice leaves sooner than the sum of both says, which a logistic regression misses.
    """
    rng = np.random.default_rng(seed)
    tenure = rng.integers(0, 73, count)
    complaints = np.minimum(rng.poisson(0.9, count), 12)
    minutes = np.round(np.clip(rng.gamma(4.0, 8.0, count), 0.5, 180.0), 2)
    plan = rng.choice(["Basic", "Standard", "Premium"], count, p=[0.45, 0.35, 0.20])
    # "NA" is North America: a region, not a missing value.
    region = rng.choice(["EU", "NA", "APAC", "LATAM"], count, p=[0.34, 0.28, 0.23, 0.15])

    log_odds = (
        -1.57
        - 0.059 * (tenure - 30)
        + 0.95 * (complaints - 0.9)
        - 0.050 * (minutes - 32)
        + np.select([plan == "Basic", plan == "Premium"], [0.8, -0.9], 0.0)
        + np.select([region == "NA", region == "LATAM"], [0.3, 0.55], 0.0)
        + 1.0 * ((tenure < 6) & (complaints >= 2))
    )
    probability = 1.0 / (1.0 + np.exp(-log_odds))
    churn = (rng.random(count) < probability).astype(np.int64)
    columns = (tenure, complaints, minutes, plan, region, churn)
    return dict(zip(COLUMNS, columns, strict=True)), probability


def best_scores(count: int = 2_000_000, seed: int = 0) -> BestScores:
    """The best possible scores, as expectations over the true probabilities of `count` customers.

    With customers sorted by probability p, a pair of a positive i and a negative j counts with
    weight p_i * (1 - p_j) in ROC-AUC, and the k most likely customers hold sum(p) expected
    positives, from which the best F1 over all thresholds follows.
    """
    _, p = customers(count, seed)
    p = np.sort(p)
    q = 1.0 - p
    negatives_below = np.cumsum(q) - q / 2
    expected_f1 = 2 * np.cumsum(p[::-1]) / (np.arange(1, count + 1) + p.sum())
    best = int(expected_f1.argmax())
    return BestScores(
        positive_rate=float(p.mean()),
        roc_auc=float((p * negatives_below).sum() / (p.sum() * q.sum())),
        f1=float(expected_f1[best]),
        threshold=float(p[::-1][best]),
        log_loss=float(-(p * np.log(p) + q * np.log(q)).mean()),
        brier=float((p * q).mean()),
    )
