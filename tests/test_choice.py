"""How the model is chosen: on tables small enough to train in a blink."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from churn import choice, metrics, model
from churn.choice import Candidate
from churn.column import Column
from churn.resampling import Labels, Probabilities
from churn.schema import Schema
from churn.settings import HistGradientBoosting, LogisticRegression, RandomForest, Train

SCHEMA = Schema(
    columns={
        "a": Column(type="number", nullable=True),
        "b": Column(type="number"),
        "plan": Column(type="category", nullable=True),
    }
)


def settings(**changes: Any) -> Train:
    train = Train(
        version="v1",
        seed=3,
        model="auto",
        logistic_regression=LogisticRegression(C=1.0, max_iter=1000),
        hist_gradient_boosting=HistGradientBoosting(
            learning_rate=0.1,
            max_iter=60,
            max_leaf_nodes=7,
            min_samples_leaf=20,
            l2_regularization=0.0,
        ),
        random_forest=RandomForest(n_estimators=20, min_samples_leaf=3),
    )
    return train.model_copy(update=changes)


def customers(crosswise: bool, count: int = 600) -> tuple[pd.DataFrame, pd.Series]:
    """`crosswise`, the sign of a × b decides, which no line can tell; else a + b."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, count))
    features = pd.DataFrame({"a": a, "b": b, "plan": rng.choice(["x", "y"], count)})
    features = features.astype({"plan": "str"})
    log_odds = 4 * np.sign(a * b) if crosswise else 2 * (a + b)
    churn = rng.random(count) < 1 / (1 + np.exp(-log_odds))
    features.loc[::9, "a"] = np.nan
    return features, pd.Series(churn.astype("int64"))


def chosen(crosswise: bool, **changes: Any) -> choice.Choice:
    features, target = customers(crosswise)
    train = settings(**changes)
    candidates = choice.compare(train, SCHEMA, features, target)
    return choice.choose(candidates, target.to_numpy(), train.choose_by)


def candidate(estimator: str, target: Labels, probabilities: Probabilities) -> Candidate:
    scores = metrics.score(target, probabilities, 0.5)
    return Candidate(estimator, {}, "none", probabilities, 0.5, scores, scores)


def test_trees_are_chosen_where_no_line_tells_the_classes_apart() -> None:
    decided = chosen(crosswise=True)
    assert decided.chosen.estimator in ("hist_gradient_boosting", "random_forest")
    assert decided.chosen.scores["roc_auc"] > 0.85
    regression = next(c for c in decided.compared if c.estimator == "logistic_regression")
    assert f"against {regression.scores['log_loss']:.4f} of" not in decided.reason.split(":")[0]
    assert f"{regression.scores['log_loss']:.4f} of logistic_regression" in decided.reason


def test_logistic_regression_is_chosen_where_a_line_does() -> None:
    assert chosen(crosswise=False).chosen.estimator == "logistic_regression"


def test_a_named_estimator_is_the_only_candidate() -> None:
    decided = chosen(crosswise=True, model="logistic_regression")
    assert [each.estimator for each in decided.compared] == ["logistic_regression"]
    assert "that params.yaml names" in decided.reason


@pytest.mark.parametrize("by", ["log_loss", "brier", "roc_auc"])
def test_the_best_is_that_of_the_measure_that_params_name(by: str) -> None:
    rng = np.random.default_rng(0)
    chance = rng.beta(2, 4, 4000)
    target = (rng.random(4000) < chance).astype(np.int64)
    noisy = np.clip(chance + rng.normal(0, 0.08, 4000), 0.01, 0.99)
    # The forest orders best and is far too sure of itself; the regression is noisy and honest.
    sure = chance**8 / (chance**8 + (1 - chance) ** 8)
    both = [
        candidate("logistic_regression", target, noisy),
        candidate("random_forest", target, sure),
    ]
    wanted = min(both, key=lambda each: choice.loss(each.scores, by))
    assert choice.choose(both, target, by).chosen is wanted
    assert wanted.estimator == ("random_forest" if by == "roc_auc" else "logistic_regression")


def test_a_close_call_goes_to_the_simpler_model_and_the_reason_says_so() -> None:
    rng = np.random.default_rng(1)
    chance = rng.beta(2, 4, 3000)
    target = (rng.random(3000) < chance).astype(np.int64)
    simple = np.clip(chance + rng.normal(0, 0.005, 3000), 0.001, 0.999)
    both = [
        candidate("logistic_regression", target, simple),
        candidate("hist_gradient_boosting", target, np.clip(chance, 0.001, 0.999)),
    ]
    by = max(("log_loss", "brier"), key=lambda by: both[0].scores[by] - both[1].scores[by])
    decided = choice.choose(both, target, by)
    assert decided.chosen.estimator == "logistic_regression"
    if both[0].scores[by] > both[1].scores[by]:
        assert "and it is the simpler model" in decided.reason


def test_a_loss_of_ranking_is_no_close_call() -> None:
    # By log loss the two are within a standard error; in ROC-AUC the simpler one is far behind.
    target = np.array([0, 1] * 200)
    rng = np.random.default_rng(2)
    good = np.where(target == 1, 0.6, 0.4) + rng.normal(0, 0.05, 400)
    good[:8] = 1 - good[:8]
    flat = np.full(400, 0.5)
    surely_wrong = np.where(np.arange(400) < 20, 1e-4 + 0.9998 * (1 - target), good)
    both = [
        candidate("logistic_regression", target, flat),
        candidate("hist_gradient_boosting", target, np.clip(surely_wrong, 1e-3, 0.999)),
    ]
    difference, _ = choice.difference(target, flat, both[1].probabilities, "log_loss")
    if difference <= 0:
        both[1] = candidate("hist_gradient_boosting", target, np.clip(good, 1e-3, 0.999))
    assert both[1].scores["roc_auc"] - both[0].scores["roc_auc"] > choice.AUC_MARGIN
    assert not choice.as_good(both[0], both[1], target, "log_loss")


def test_the_difference_is_that_of_the_measures() -> None:
    rng = np.random.default_rng(4)
    target = rng.integers(0, 2, 500)
    one, other = rng.random((2, 500))
    for by, measure in (("log_loss", log_loss), ("brier", brier_score_loss)):
        worse, error = choice.difference(target, one, other, by)
        assert worse == pytest.approx(measure(target, one) - measure(target, other))
        assert 0 < error < 1
    worse, _ = choice.difference(target, one, other, "roc_auc")
    assert worse == pytest.approx(roc_auc_score(target, other) - roc_auc_score(target, one))


def test_the_standard_error_of_roc_auc_is_that_of_repeated_draws() -> None:
    rng = np.random.default_rng(6)

    def draw() -> tuple[Labels, Probabilities, Probabilities]:
        target = (rng.random(400) < 0.3).astype(np.int64)
        signal = rng.normal(target, 1.0)
        return target, signal + rng.normal(0, 0.5, 400), signal + rng.normal(0, 0.7, 400)

    found = np.array([choice.difference(*draw(), "roc_auc") for _ in range(300)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)


# Calibration


def test_a_model_that_is_too_sure_of_itself_is_calibrated_and_an_honest_one_is_not() -> None:
    features, target = customers(crosswise=False, count=1500)
    train = settings(random_forest=RandomForest(n_estimators=10, min_samples_leaf=1))
    overfitted = choice.assess(train, "random_forest", SCHEMA, features, target)
    honest = choice.assess(train, "logistic_regression", SCHEMA, features, target)
    assert overfitted.calibration != "none"
    assert overfitted.scores["log_loss"] < overfitted.uncalibrated["log_loss"] - 0.01
    assert overfitted.scores["roc_auc"] > overfitted.uncalibrated["roc_auc"] - 0.02
    assert honest.calibration == "none"
    assert honest.scores == honest.uncalibrated


@pytest.mark.parametrize("calibration", ["none", "sigmoid", "isotonic"])
def test_a_named_calibration_is_taken_without_asking(calibration: str) -> None:
    assert chosen(crosswise=False, calibration=calibration).chosen.calibration == calibration


@pytest.mark.parametrize("calibration", ["none", "sigmoid", "isotonic"])
def test_the_fitted_classifier_is_the_one_that_was_compared(calibration: str) -> None:
    features, target = customers(crosswise=False, count=1500)
    train = settings(calibration=calibration)
    for estimator in train.estimators:
        found = choice.assess(train, estimator, SCHEMA, features, target)
        fitted = model.fit(found.classifier(train, SCHEMA, target), features, target)
        assert fitted.threshold == found.threshold
        other, labels = customers(crosswise=False, count=1500)
        scored = log_loss(labels, model.probability(fitted, other))
        # These rows were trained on, so the fitted model does better than out of fold, not worse.
        assert scored < found.scores["log_loss"] + 0.01


def test_calibration_knows_nothing_of_the_rows_it_is_measured_on() -> None:
    # Noise: isotonic calibration fitted to the same rows would seem to help.
    features, _ = customers(crosswise=False)
    target = pd.Series(np.random.default_rng(8).integers(0, 2, len(features)))
    train = settings(calibration="isotonic")
    found = choice.assess(train, "random_forest", SCHEMA, features, target)
    assert found.scores["roc_auc"] < 0.57


# What cross-validation leaves


def test_a_probability_out_of_fold_knows_nothing_of_its_own_row() -> None:
    # Labels without any pattern: a forest that has seen a row knows it, one that has not cannot.
    features, _ = customers(crosswise=False)
    target = pd.Series(np.random.default_rng(3).integers(0, 2, len(features)))
    forest = RandomForest(n_estimators=30, min_samples_leaf=1)
    train = settings(random_forest=forest, calibration="none")
    found = choice.assess(train, "random_forest", SCHEMA, features, target)
    fitted = model.fit(found.classifier(train, SCHEMA, target), features, target)
    seen = model.probability(fitted, features)
    assert ((seen >= 0.5) == target).mean() > 0.7
    assert ((found.probabilities >= 0.5) == target).mean() < 0.6


def test_two_comparisons_find_the_same_bits_and_another_seed_does_not() -> None:
    features, target = customers(crosswise=True, count=300)
    one, two, other = (
        choice.compare(settings(seed=seed), SCHEMA, features, target) for seed in (1, 1, 2)
    )
    for first, second, third in zip(one, two, other, strict=True):
        assert (first.probabilities == second.probabilities).all()
        assert first.scores == second.scores
        assert (first.probabilities != third.probabilities).any()


def test_processes_find_the_same_bits_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    features, target = customers(crosswise=True, count=300)
    one = choice.compare(settings(), SCHEMA, features, target)
    monkeypatch.setattr(choice, "WORTH_PROCESSES", 0)
    two = choice.compare(settings(), SCHEMA, features, target)
    for first, second in zip(one, two, strict=True):
        assert (first.probabilities == second.probabilities).all()


def test_boosting_stops_where_more_iterations_do_not_help() -> None:
    features, target = customers(crosswise=False)
    slow = HistGradientBoosting(
        learning_rate=0.3, max_iter=80, max_leaf_nodes=7, min_samples_leaf=5, l2_regularization=0
    )
    train = settings(hist_gradient_boosting=slow, calibration="none")
    found = choice.assess(train, "hist_gradient_boosting", SCHEMA, features, target)
    assert 1 < found.hyperparameters["max_iter"] < 60
    fitted = model.fit(found.classifier(train, SCHEMA, target), features, target)
    assert fitted.estimator_[-1].n_iter_ == found.hyperparameters["max_iter"]


def test_the_summary_names_the_chosen_one_first() -> None:
    decided = chosen(crosswise=True)
    summary = decided.summary
    assert summary.keys() == {
        *("estimator", "calibration", "by", "reason", "threshold", "compared")
    }
    assert summary["compared"][0]["estimator"] == summary["estimator"]
    assert {each["estimator"] for each in summary["compared"]} == {
        *("logistic_regression", "hist_gradient_boosting", "random_forest")
    }
    for each in summary["compared"]:
        assert each.keys() == {
            *("estimator", "calibration", "log_loss", "brier", "roc_auc", "f1", "threshold")
        }


def test_the_table_is_aligned() -> None:
    heading, *lines = chosen(crosswise=True).table()
    assert len(lines) == 3
    for line in lines:
        assert line[heading.index("ROC-AUC") - 1] == " "
        assert float(line[heading.index("ROC-AUC") :].split()[0]) > 0.4
