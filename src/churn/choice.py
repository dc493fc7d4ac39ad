"""Which model to train: the estimators of params.yaml side by side on one cross-validation of the
train split, each with the calibration that helps it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from churn import cli, metrics, model
from churn.resampling import Labels, Probabilities
from churn.schema import Schema
from churn.settings import Train

NAMES = {"log_loss": "log loss", "brier": "Brier score", "roc_auc": "ROC-AUC"}
"""The measures of train.choose_by, as a person calls them."""

AUC_MARGIN = 0.001
"""What ROC-AUC a simpler model or a calibration may cost, whatever the other measure says."""

WORTH_PROCESSES = 50_000
"""So many rows to fit trees to, over all fits, are worth the three seconds that processes take to
start; 10 fits of telco's 7,000 rows are, just."""

CALIBRATORS: dict[str, Callable[[], Any]] = {
    # What CalibratedClassifierCV fits to the decision values, the simpler one first.
    "sigmoid": _SigmoidCalibration,
    "isotonic": lambda: IsotonicRegression(out_of_bounds="clip"),
}

Values = NDArray[np.float64]
"""Decision values (see model.decision_values)."""

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The positions of the rows to fit on, and of those to answer for."""


@dataclass(frozen=True)
class Candidate:
    """One estimator with its calibration, and what cross-validation says of it.

    `probabilities` has shape (rows,), range 0 to 1: each train row's from a model and a calibration
    that were fitted without its fold. `threshold` and `scores` (see metrics.score) come from them,
    `uncalibrated` holds the scores of the probabilities before calibration.
    """

    estimator: str
    hyperparameters: dict[str, Any]
    calibration: str
    probabilities: Probabilities
    threshold: float
    scores: dict[str, float]
    uncalibrated: dict[str, float]

    def classifier(self, train: Train, schema: Schema, target: pd.Series) -> Any:
        """The classifier to fit to all rows of `target`, which are those that were compared on."""
        tuned = train.with_hyperparameters(self.estimator, self.hyperparameters)
        pipeline = model.build(tuned, self.estimator, schema)
        folds = model.folds(target, train.seed)
        return model.classifier(pipeline, self.threshold, self.calibration, folds)

    @property
    def params(self) -> dict[str, Any]:
        """What MLflow shows as its parameters."""
        named = {"estimator": self.estimator, "calibration": self.calibration}
        return {**named, **self.hyperparameters, "threshold": self.threshold}

    @property
    def metrics(self) -> dict[str, float]:
        """What MLflow shows as its metrics."""
        return {f"cv_{name}": value for name, value in self.scores.items()}

    @property
    def summary(self) -> dict[str, Any]:
        """What models/training.json says of it."""
        measured = {name: self.scores[name] for name in (*NAMES, "f1")}
        named = {"estimator": self.estimator, "calibration": self.calibration}
        return {**named, **measured, "threshold": self.threshold}


@dataclass(frozen=True)
class Choice:
    """The candidate to train, why, and all that were compared, the chosen one first."""

    chosen: Candidate
    by: str
    reason: str
    compared: tuple[Candidate, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """What models/training.json says of it."""
        return {
            "estimator": self.chosen.estimator,
            "calibration": self.chosen.calibration,
            "by": self.by,
            "reason": self.reason,
            "threshold": self.chosen.threshold,
            "compared": [candidate.summary for candidate in self.compared],
        }

    def table(self) -> list[str]:
        """The candidates in aligned columns, with a heading."""
        heading = ["cross-validation", "calibration", *NAMES.values(), "F1", "threshold"]
        lines = [heading]
        for each in self.compared:
            shown = [f"{each.scores[name]:.4f}" for name in (*NAMES, "f1")]
            lines.append([each.estimator, each.calibration, *shown, f"{each.threshold:g}"])
        return cli.table(lines)


def compare(
    train: Train, schema: Schema, features: pd.DataFrame, target: pd.Series
) -> list[Candidate]:
    """A candidate for each estimator that `train.model` asks for, the simpler one first.

    Raises TrainingError where the rows do not suffice or an estimator cannot be fitted.
    """
    folds = list(model.folds(target, train.seed).split(features, target))
    tasks = [(estimator, fold) for estimator in train.estimators for fold in folds]
    slow = [estimator for estimator, _ in tasks if estimator != "logistic_regression"]
    jobs = -1 if len(slow) * len(target) > WORTH_PROCESSES else 1
    running = Parallel(n_jobs=jobs, return_as="generator")(
        delayed(_answer)(model.build(train, estimator, schema), features, target, fold)
        for estimator, fold in tasks
    )
    answers = list(cli.progress(running, "cross-validation", len(tasks)))
    return [
        _candidate(train, estimator, answers[at : at + len(folds)], folds, target.to_numpy())
        for at, estimator in zip(range(0, len(tasks), len(folds)), train.estimators, strict=True)
    ]


def assess(
    train: Train, estimator: str, schema: Schema, features: pd.DataFrame, target: pd.Series
) -> Candidate:
    """The candidate of one estimator, in this process and without a bar; raises as compare()."""
    folds = list(model.folds(target, train.seed).split(features, target))
    answers = [
        _answer(model.build(train, estimator, schema), features, target, fold) for fold in folds
    ]
    return _candidate(train, estimator, answers, folds, target.to_numpy())


def choose(candidates: Sequence[Candidate], target: Labels, by: str) -> Choice:
    """The best candidate by the measure `by`, or a simpler one that is as good.

    As good: the difference is no larger than its standard error, and ROC-AUC is no more than
    AUC_MARGIN lower. `candidates` come with the simpler ones first, and say so in their order.
    """
    ranked = sorted(candidates, key=lambda each: loss(each.scores, by))
    best = ranked[0]
    simpler = candidates[: candidates.index(best)]
    chosen = next((each for each in simpler if as_good(each, best, target, by)), best)
    compared = (chosen, *(each for each in ranked if each is not chosen))
    return Choice(chosen, by, _reason(chosen, best, compared[1:], target, by), compared)


def as_good(one: Candidate, other: Candidate, target: Labels, by: str) -> bool:
    """Whether `one` is no worse than `other` as far as the rows can tell."""
    worse, error = difference(target, one.probabilities, other.probabilities, by)
    lost = other.scores["roc_auc"] - one.scores["roc_auc"]
    return worse <= error and lost <= AUC_MARGIN


def difference(
    target: Labels, one: Probabilities, other: Probabilities, by: str
) -> tuple[float, float]:
    """By how much `one` is worse than `other` on the same rows, and the standard error of that.

    For log loss and Brier score from the paired differences of the rows' losses; for ROC-AUC after
    DeLong, DeLong and Clarke-Pearson (1988), from the rows' placement values.
    """
    if by != "roc_auc":
        worse = _losses(target, one, by) - _losses(target, other, by)
        return float(worse.mean()), float(worse.std(ddof=1) / np.sqrt(len(worse)))
    worse = _placements(target, other) - _placements(target, one)
    positive, negative = worse[target == 1], worse[target == 0]
    variances = [part.var(ddof=1) / len(part) for part in (positive, negative) if len(part) > 1]
    return float(positive.mean()), float(np.sqrt(sum(variances)))


def _losses(target: Labels, probabilities: Probabilities, by: str) -> Probabilities:
    """Each row's share in the loss."""
    if by == "brier":
        return (probabilities - target) ** 2
    right = np.where(target == 1, probabilities, 1 - probabilities)
    # As scikit-learn's log_loss does: a certain answer that is wrong costs 36.
    losses: Probabilities = -np.log(np.maximum(right, np.finfo(np.float64).eps))
    return losses


def _placements(target: Labels, probabilities: Probabilities) -> Probabilities:
    """The share of the other class's rows that each row is on the right side of, ties halved."""
    placements = np.empty(len(target))
    everywhere = rankdata(probabilities)
    for label in (0, 1):
        rows = target == label
        below = (everywhere[rows] - rankdata(probabilities[rows])) / (~rows).sum()
        placements[rows] = below if label else 1 - below
    return placements


def loss(scores: dict[str, float], by: str) -> float:
    """The measure `by` as something that is better when it is smaller."""
    return -scores[by] if by == "roc_auc" else scores[by]


def _answer(pipeline: Pipeline, features: pd.DataFrame, target: pd.Series, fold: Fold) -> Values:
    """The decision values of one fold's rows from a model that was fitted to the others."""
    fit_rows, rows = fold
    fitted = model.fit(pipeline, features.iloc[fit_rows], target.iloc[fit_rows])
    return model.decision_values(fitted, features.iloc[rows])


def _candidate(
    train: Train, estimator: str, answers: list[Values], folds: list[Fold], target: Labels
) -> Candidate:
    looks = np.empty((len(answers[0]), len(target)))
    for (_, rows), answer in zip(folds, answers, strict=True):
        looks[:, rows] = answer
    # More iterations fit the rows they see better and, from some point on, all others worse.
    by = "brier" if train.choose_by == "brier" else "log_loss"
    losses = [_losses(target, _raw(estimator, values), by).mean() for values in looks]
    best = int(np.argmin(losses))
    hyperparameters = train.hyperparameters(estimator)
    if len(looks) > 1:
        hyperparameters["max_iter"] = model.stages(hyperparameters["max_iter"])[best]
    raw = _raw(estimator, looks[best])
    ways = {"none": raw} | {
        method: _calibrated(method, looks[best], folds, target)
        for method in CALIBRATORS
        if train.calibration in ("auto", method)
    }
    auto = train.calibration == "auto"
    calibration = _helpful(ways, target, by) if auto else train.calibration
    threshold = model.best_f1_threshold(target, ways[calibration])
    return Candidate(
        estimator=estimator,
        hyperparameters=hyperparameters,
        calibration=calibration,
        probabilities=ways[calibration],
        threshold=threshold,
        scores=metrics.score(target, ways[calibration], threshold),
        uncalibrated=metrics.score(target, raw, threshold),
    )


def _raw(estimator: str, values: Values) -> Probabilities:
    """The probabilities that the estimator itself makes of its decision values."""
    return values if estimator == "random_forest" else expit(values)


def _calibrated(method: str, values: Values, folds: list[Fold], target: Labels) -> Probabilities:
    """Each fold's probabilities by the calibration that is fitted to the other folds' values."""
    probabilities = np.empty(len(target))
    for others, rows in folds:
        calibrator = CALIBRATORS[method]().fit(values[others], target[others])
        probabilities[rows] = calibrator.predict(values[rows])
    return probabilities


def _helpful(ways: dict[str, Probabilities], target: Labels, by: str) -> str:
    """The calibration whose loss is smaller beyond its standard error, the simplest if several.

    A sigmoid keeps the order of all rows in the one model that is trained in the end; isotonic
    regression makes ties, which may cost ROC-AUC.
    """
    best = "none"
    auc = roc_auc_score(target, ways["none"])
    for method in CALIBRATORS:
        worse, error = difference(target, ways[method], ways[best], by)
        lost = auc - roc_auc_score(target, ways[method]) if method == "isotonic" else 0.0
        if worse < -error and lost <= AUC_MARGIN:
            best = method
    return best


def _reason(
    chosen: Candidate, best: Candidate, others: Sequence[Candidate], target: Labels, by: str
) -> str:
    """One sentence with the numbers that decided."""
    measured = f"{chosen.estimator}: cross-validated {NAMES[by]} {chosen.scores[by]:.4f}"
    if chosen is not best:
        _, error = difference(target, chosen.probabilities, best.probabilities, by)
        measured += (
            f", which is as good as {best.scores[by]:.4f} of {best.estimator} (standard error of"
            f" the difference {error:.4f}), and it is the simpler model"
        )
    elif others:
        against = [f"{each.scores[by]:.4f} of {each.estimator}" for each in others]
        measured += f" against {' and '.join(against)}"
    else:
        measured += ", the estimator that params.yaml names"
    if chosen.calibration != "none":
        before = chosen.uncalibrated["log_loss"]
        measured += (
            f"; {chosen.calibration} calibration takes its log loss from {before:.4f} to"
            f" {chosen.scores['log_loss']:.4f}"
        )
    return measured
