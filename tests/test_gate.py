import numpy as np
import pytest
from numpy.typing import NDArray

from churn import gate, metrics
from churn.gate import Verdict

ROWS = 2000


def target(positive_rate: float = 0.53) -> NDArray[np.int64]:
    return (np.random.default_rng(0).random(ROWS) < positive_rate).astype(np.int64)


def verdict(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], threshold: float, gate_f1: float
) -> Verdict:
    """The gate's decision on a model with these answers, as evaluate.py asks for it."""
    return gate.decide(
        metrics.score(labels, probabilities, threshold),
        metrics.intervals(labels, probabilities, threshold, seed=0),
        metrics.naive_f1(float(labels.mean())),
        gate_f1,
    )


def skilled(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities that say something about the labels, and not everything."""
    noise = np.random.default_rng(1).random(len(labels))
    answers: NDArray[np.float64] = 0.45 * labels + 0.55 * noise
    return answers


def test_a_good_model_passes_and_the_reason_holds_the_numbers() -> None:
    labels = target()
    passed = verdict(labels, skilled(labels), 0.5, gate_f1=0.55)
    f1 = metrics.score(labels, skilled(labels), 0.5)["f1"]
    naive = metrics.naive_f1(float(labels.mean()))["all positive"]
    assert passed.passed
    assert passed.word == "passed"
    assert f"F1 {f1:.3f} [" in passed.reason
    assert "reaches gate_f1 0.55" in passed.reason
    assert f"beats the best naive answer (all positive: {naive:.3f}) by {f1 - naive:.3f}" in (
        passed.reason
    )
    assert "ROC-AUC 0.9" in passed.reason


def test_calling_everybody_a_leaver_fails_even_where_no_f1_is_asked() -> None:
    labels = target()
    failed = verdict(labels, np.full(ROWS, 0.9), 0.5, gate_f1=0)
    assert not failed.passed
    assert failed.word == "failed"
    assert "does not beat the best naive answer (all positive: 0.69" in failed.reason
    assert "0.000 [0.000, 0.000]" in failed.reason
    assert "reaches" not in failed.reason


def test_calling_nearly_everybody_a_leaver_fails() -> None:
    labels = target()
    answers = np.full(ROWS, 0.9)
    answers[np.flatnonzero(labels == 0)[:3]] = 0.1
    assert (
        metrics.score(labels, answers, 0.5)["f1"] > metrics.naive_f1(labels.mean())["all positive"]
    )
    failed = verdict(labels, answers, 0.5, gate_f1=0)
    assert not failed.passed
    assert "does not beat the best naive answer" in failed.reason


def test_calling_nobody_a_leaver_fails() -> None:
    labels = target(0.1)
    failed = verdict(labels, np.full(ROWS, 0.1), 0.5, gate_f1=0)
    assert not failed.passed
    assert "F1" not in failed.reason.partition("; ")[0]


def test_guessing_by_the_prior_fails() -> None:
    labels = target()
    guesses = np.random.default_rng(2).random(ROWS)
    assert not verdict(labels, guesses, 0.47, gate_f1=0).passed


def test_a_skilled_model_below_the_gate_fails_for_that_alone() -> None:
    labels = target()
    failed = verdict(labels, skilled(labels), 0.5, gate_f1=0.99)
    assert not failed.passed
    assert "< gate_f1 0.99" in failed.reason
    assert "naive" not in failed.reason


def test_every_reason_of_a_failure_is_given() -> None:
    failed = verdict(target(), np.full(ROWS, 0.9), 0.5, gate_f1=0.8)
    assert "< gate_f1 0.8" in failed.reason
    assert "does not beat" in failed.reason


@pytest.mark.parametrize(("gate_f1", "passes"), [(0.75, True), (0.7500001, False)])
def test_reaching_the_gate_exactly_is_enough(gate_f1: float, passes: bool) -> None:
    decided = gate.decide(
        {"f1": 0.75, "roc_auc": 0.9},
        {"f1": (0.7, 0.8), "roc_auc": (0.85, 0.95), "f1_over_naive": (0.1, 0.2)},
        {"all positive": 0.6, "all negative": 0.0, "prior": 0.4},
        gate_f1,
    )
    assert decided.passed is passes


def test_a_gain_whose_interval_touches_0_is_no_gain() -> None:
    decided = gate.decide(
        {"f1": 0.75, "roc_auc": 0.9},
        {"f1": (0.7, 0.8), "roc_auc": (0.85, 0.95), "f1_over_naive": (0.0, 0.2)},
        {"all positive": 0.6, "all negative": 0.0, "prior": 0.4},
        0.5,
    )
    assert not decided.passed


def test_a_reason_is_one_line() -> None:
    labels = target()
    assert "\n" not in verdict(labels, skilled(labels), 0.5, gate_f1=0.5).reason
