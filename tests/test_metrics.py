import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from churn import metrics

Labels = NDArray[np.int64]
Answers = tuple[Labels, NDArray[np.float64]]


def answers(rows: int, seed: int = 0, decimals: int = 3) -> Answers:
    """Probabilities, rounded so that some are tied, and the targets drawn from them."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.8, 1.8, rows).round(decimals)
    return (rng.random(rows) < probabilities).astype(np.int64), probabilities


def plain_f1(target: Labels, prediction: Labels) -> float:
    found = int((target & prediction).sum())
    return 2 * found / int(target.sum() + prediction.sum())


def plain_roc_auc(target: Labels, probabilities: NDArray[np.float64]) -> float:
    """The share of pairs of one positive and one negative that are in order, ties halved."""
    gaps = probabilities[target == 1][:, None] - probabilities[target == 0]
    return float((gaps > 0).mean() + (gaps == 0).mean() / 2)


def test_the_scores_are_those_of_the_threshold() -> None:
    target = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    probabilities = np.array([0.9, 0.6, 0.2, 0.5, 0.4, 0.3, 0.2, 0.1])
    scores = metrics.score(target, probabilities, 0.5)
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(2 / 3)
    assert scores["accuracy"] == 6 / 8
    assert scores["roc_auc"] == pytest.approx(11.5 / 15)
    assert scores["brier"] == pytest.approx(np.mean((target - probabilities) ** 2))
    assert scores["log_loss"] == pytest.approx(
        -np.log([0.9, 0.6, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9]).mean()
    )


def test_the_threshold_itself_counts_as_positive() -> None:
    target, probabilities = np.array([1, 0]), np.array([0.5, 0.4])
    assert metrics.score(target, probabilities, 0.5)["recall"] == 1
    assert metrics.score(target, probabilities, 0.5001)["recall"] == 0


def test_a_model_that_calls_nobody_positive_scores_0_without_a_warning(
    recwarn: pytest.WarningsRecorder,
) -> None:
    target, probabilities = answers(50)
    scores = metrics.score(target, probabilities, 2.0)
    assert (scores["f1"], scores["precision"], scores["recall"]) == (0, 0, 0)
    assert not recwarn.list


def test_every_score_is_a_plain_float() -> None:
    assert {type(value) for value in metrics.score(*answers(50), 0.5).values()} == {float}


@pytest.mark.parametrize("rate", [0.01, 0.27, 0.53, 0.99])
def test_the_naive_scores_are_those_of_naive_answers(rate: float) -> None:
    rng = np.random.default_rng(0)
    target = (np.arange(200_000) < rate * 200_000).astype(int)
    naive = metrics.naive_f1(rate)
    assert naive["all positive"] == pytest.approx(sk.f1_score(target, np.ones_like(target)))
    assert naive["all negative"] == sk.f1_score(target, np.zeros_like(target), zero_division=0)
    guessed = (rng.random(len(target)) < rate).astype(int)
    assert naive["prior"] == pytest.approx(sk.f1_score(target, guessed), abs=0.02)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_the_vectorized_roc_auc_is_that_of_scikit_learn_with_ties(decimals: int) -> None:
    drawn = [answers(101, seed, decimals) for seed in range(20)]
    targets = np.stack([target for target, _ in drawn])
    probabilities = np.stack([probability for _, probability in drawn])
    wanted = [sk.roc_auc_score(*row) for row in drawn]
    assert metrics._roc_auc(targets, probabilities) == pytest.approx(wanted, abs=1e-12)
    assert metrics._roc_auc(targets.T, probabilities.T, axis=0) == pytest.approx(wanted, abs=1e-12)


def test_a_resample_of_one_class_has_no_roc_auc() -> None:
    both = metrics._roc_auc(np.array([[1, 1], [0, 0], [1, 0]]), np.array([[0.1, 0.2]] * 3))
    assert np.isnan(both).tolist() == [True, True, False]


def test_the_intervals_agree_with_a_plain_bootstrap() -> None:
    target, probabilities = answers(400)
    prediction = (probabilities >= 0.35).astype(np.int64)
    everybody = np.ones_like(target)
    drawn: dict[str, list[float]] = {"f1": [], "f1_over_naive": [], "roc_auc": []}
    rng = np.random.default_rng(1)
    for _ in range(4000):
        rows = rng.integers(0, 400, 400)
        f1 = plain_f1(target[rows], prediction[rows])
        drawn["f1"].append(f1)
        drawn["f1_over_naive"].append(f1 - plain_f1(target[rows], everybody))
        drawn["roc_auc"].append(plain_roc_auc(target[rows], probabilities[rows]))

    found = metrics.intervals(target, probabilities, 0.35, seed=3)
    assert found.keys() == drawn.keys()
    for name, values in drawn.items():
        wanted = np.quantile(values, [0.025, 0.975])
        # The ends of such an interval wander by about 3 % of its width; those of a 90 % interval
        # would stand 8 % further in.
        assert found[name] == pytest.approx(wanted, abs=float(np.ptp(wanted)) / 16), name


def test_the_intervals_hold_the_scores_and_shrink_with_the_rows() -> None:
    few, many = answers(200), answers(3200)
    for target, probabilities in (few, many):
        found = metrics.intervals(target, probabilities, 0.35, seed=0)
        scores = metrics.score(target, probabilities, 0.35)
        for name in ("f1", "roc_auc"):
            low, high = found[name]
            assert low < scores[name] < high
    widths = [np.ptp(metrics.intervals(*rows, 0.35, seed=0)["f1"]) for rows in (few, many)]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)


def test_the_intervals_are_the_same_each_time() -> None:
    rows = answers(200)
    assert metrics.intervals(*rows, 0.5, seed=1) == metrics.intervals(*rows, 0.5, seed=1)
    assert metrics.intervals(*rows, 0.5, seed=1) != metrics.intervals(*rows, 0.5, seed=2)


def test_a_rare_class_still_gets_an_interval() -> None:
    target = np.array([1, 1] + [0] * 38)
    probabilities = np.linspace(0.9, 0.1, 40)
    low, high = metrics.intervals(target, probabilities, 0.5, seed=0)["roc_auc"]
    assert 0 <= low <= high <= 1


def test_the_gain_of_calling_everybody_positive_is_exactly_nothing() -> None:
    target, probabilities = answers(300)
    gain = metrics.intervals(target, probabilities, -1.0, seed=0)["f1_over_naive"]
    assert gain == pytest.approx((0, 0), abs=1e-12)


def test_intervals_become_one_flat_object() -> None:
    flat = metrics.flat({"f1": (0.1, 0.2), "roc_auc": (0.3, 0.4)})
    assert flat == {"f1_low": 0.1, "f1_high": 0.2, "roc_auc_low": 0.3, "roc_auc_high": 0.4}
