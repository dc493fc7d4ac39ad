import numpy as np
import pytest
from sklearn import metrics

from churn import sample


def test_the_sample_is_the_same_each_time() -> None:
    (one, chances), (two, same_chances) = sample.customers(), sample.customers()
    assert (chances == same_chances).all()
    assert all((one[name] == two[name]).all() for name in sample.COLUMNS)


def test_another_seed_makes_other_customers() -> None:
    one, _ = sample.customers(seed=1)
    two, _ = sample.customers(seed=2)
    assert (one["tenure_months"] != two["tenure_months"]).any()


def test_the_columns_are_those_of_the_lab() -> None:
    table, probability = sample.customers()
    assert tuple(table) == (
        "tenure_months",
        "num_complaints",
        "avg_session_minutes",
        "plan_type",
        "region",
        "churn",
    )
    assert {values.shape for values in table.values()} == {probability.shape} == {(10_000,)}
    assert set(table["region"]) == {"APAC", "EU", "LATAM", "NA"}
    assert set(table["plan_type"]) == {"Basic", "Standard", "Premium"}


def test_about_27_percent_leave() -> None:
    table, probability = sample.customers()
    assert float(table["churn"].astype(float).mean()) == pytest.approx(0.27, abs=0.01)
    assert float(probability.mean()) == pytest.approx(0.27, abs=0.01)


def test_the_best_possible_scores_are_those_that_the_docstring_states() -> None:
    best = sample.best_scores()
    stated = (
        f"positive rate {best.positive_rate:.3f} ROC-AUC {best.roc_auc:.3f}"
        f" F1 {best.f1:.3f} (at threshold {best.threshold:.3f})"
        f" log loss {best.log_loss:.3f} Brier {best.brier:.3f}"
    )
    assert stated in " ".join((sample.customers.__doc__ or "").split())


def test_the_true_probabilities_reach_the_best_possible_scores() -> None:
    best = sample.best_scores(200_000)
    table, probability = sample.customers(200_000, seed=7)
    churn = table["churn"].astype(int)
    prediction = (probability >= best.threshold).astype(int)
    assert metrics.roc_auc_score(churn, probability) == pytest.approx(best.roc_auc, abs=0.005)
    assert metrics.f1_score(churn, prediction) == pytest.approx(best.f1, abs=0.008)
    assert metrics.log_loss(churn, probability) == pytest.approx(best.log_loss, abs=0.005)
    assert metrics.brier_score_loss(churn, probability) == pytest.approx(best.brier, abs=0.003)


def test_no_threshold_beats_the_stated_one() -> None:
    best = sample.best_scores(200_000)
    table, probability = sample.customers(200_000, seed=7)
    churn = table["churn"].astype(int)
    for threshold in np.linspace(0.05, 0.95, 19):
        f1 = metrics.f1_score(churn, (probability >= threshold).astype(int))
        assert f1 <= best.f1 + 0.008
