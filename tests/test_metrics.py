import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from churn import metrics
from churn.resampling import Costs

Labels = NDArray[np.int64]
Answers = tuple[Labels, NDArray[np.float64]]

examples = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])

COSTS = Costs(false_negative=5, false_positive=1)


def answers(rows: int, seed: int = 0, decimals: int = 3) -> Answers:
    """Probabilities, rounded so that some are tied, and the targets drawn from them."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.8, 1.8, rows).round(decimals)
    return (rng.random(rows) < probabilities).astype(np.int64), probabilities


PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=60)


def few(pairs: list[tuple[bool, int]]) -> Answers:
    """A few rows, many of them tied, of which one at least is positive."""
    target = np.array([int(positive) for positive, _ in pairs])
    target[0] = 1
    return target, np.array([tenths / 20 for _, tenths in pairs])


def plain_f1(target: Labels, prediction: Labels) -> float:
    found = int((target & prediction).sum())
    return 2 * found / int(target.sum() + prediction.sum())


def plain_roc_auc(target: Labels, probabilities: NDArray[np.float64]) -> float:
    """The share of pairs of one positive and one negative that are in order, ties halved."""
    gaps = probabilities[target == 1][:, None] - probabilities[target == 0]
    return float((gaps > 0).mean() + (gaps == 0).mean() / 2)


# Scores


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


@examples
@given(PAIRS, st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]))
def test_the_scores_are_those_of_scikit_learn(
    pairs: list[tuple[bool, int]], threshold: float
) -> None:
    target, probabilities = few(pairs)
    prediction = (probabilities >= threshold).astype(int)
    wanted = {
        "f1": sk.f1_score(target, prediction, zero_division=0.0),
        "accuracy": sk.accuracy_score(target, prediction),
        "precision": sk.precision_score(target, prediction, zero_division=0.0),
        "recall": sk.recall_score(target, prediction, zero_division=0.0),
        "log_loss": sk.log_loss(target, probabilities, labels=[0, 1]),
        "brier": sk.brier_score_loss(target, probabilities, labels=[0, 1]),
    }
    scores = metrics.score(target, probabilities, threshold)
    if target.min() == 0:
        wanted["roc_auc"] = sk.roc_auc_score(target, probabilities)
    else:
        assert math.isnan(scores.pop("roc_auc"))
    assert scores == pytest.approx(wanted, abs=1e-12)


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
    target, probabilities = answers(50)
    found = {
        **metrics.score(target, probabilities, 0.5),
        **metrics.calibration_error(target, probabilities),
        **metrics.naive(float(target.mean())),
        **metrics.cost(target, probabilities, 0.5, COSTS),
        **metrics.flat_deciles(metrics.deciles(target, probabilities)),
        **metrics.flat(metrics.intervals(target, probabilities, 0.5, 0, COSTS)),
    }
    assert {type(value) for value in found.values()} == {float}
    assert all(math.isfinite(value) for value in found.values())


# Naive answers


@pytest.mark.parametrize("rate", [0.01, 0.27, 0.53, 0.99])
def test_the_naive_f1_is_that_of_naive_answers(rate: float) -> None:
    rng = np.random.default_rng(0)
    target = (np.arange(200_000) < rate * 200_000).astype(int)
    naive = metrics.naive_f1(rate)
    assert naive["all positive"] == pytest.approx(sk.f1_score(target, np.ones_like(target)))
    assert naive["all negative"] == sk.f1_score(target, np.zeros_like(target), zero_division=0)
    guessed = (rng.random(len(target)) < rate).astype(int)
    assert naive["prior"] == pytest.approx(sk.f1_score(target, guessed), abs=0.02)


@pytest.mark.parametrize("rate", [0.01, 0.27, 0.53, 0.99])
def test_the_other_naive_scores_are_those_of_naive_answers(rate: float) -> None:
    target = (np.arange(10_000) < rate * 10_000).astype(int)
    prior, everybody = np.full(10_000, rate), np.ones(10_000, int)
    assert metrics.naive(rate) == pytest.approx(
        {
            "naive_f1_all_positive": metrics.naive_f1(rate)["all positive"],
            "naive_f1_prior": metrics.naive_f1(rate)["prior"],
            "naive_accuracy_majority": max(
                sk.accuracy_score(target, everybody), sk.accuracy_score(target, 0 * everybody)
            ),
            "naive_precision_all_positive": sk.precision_score(target, everybody),
            "naive_roc_auc": sk.roc_auc_score(target, prior),
            "naive_log_loss_prior": sk.log_loss(target, prior),
            "naive_brier_prior": sk.brier_score_loss(target, prior),
        }
    )


# Intervals


def test_the_intervals_agree_with_a_plain_bootstrap() -> None:
    target, probabilities = answers(400)
    prediction = (probabilities >= 0.35).astype(np.int64)
    everybody = np.ones_like(target)
    right = np.clip(np.where(target == 1, probabilities, 1 - probabilities), 1e-15, None)
    cost = COSTS.per_row(target, (probabilities >= 1 / 6).astype(np.int64))
    drawn: dict[str, list[float]] = {}
    rng = np.random.default_rng(1)
    for _ in range(4000):
        rows = rng.integers(0, 400, 400)
        t, p = target[rows], prediction[rows]
        f1, rate = plain_f1(t, p), t.mean()
        for name, value in {
            "f1": f1,
            "f1_over_naive": f1 - plain_f1(t, everybody),
            "accuracy": (t == p).mean(),
            "precision": t[p == 1].mean(),
            "recall": p[t == 1].mean(),
            "roc_auc": plain_roc_auc(t, probabilities[rows]),
            "log_loss": -np.log(right[rows]).mean(),
            "brier": ((t - probabilities[rows]) ** 2).mean(),
            "cost_per_customer": cost[rows].mean(),
            "cost_saved": min(5 * rate, 1 - rate) - cost[rows].mean(),
        }.items():
            drawn.setdefault(name, []).append(float(value))

    found = metrics.intervals(target, probabilities, 0.35, seed=3, costs=COSTS)
    assert found.keys() == drawn.keys() | {"calibration_error"}
    for name, values in drawn.items():
        wanted = np.quantile(values, [0.025, 0.975])
        # The ends of such an interval wander by about 3 % of its width; those of a 90 % interval
        # would stand 8 % further in.
        assert found[name] == pytest.approx(wanted, abs=float(np.ptp(wanted)) / 16), name


def test_the_intervals_hold_the_scores_and_shrink_with_the_rows() -> None:
    small, large = answers(200), answers(3200)
    for target, probabilities in (small, large):
        found = metrics.intervals(target, probabilities, 0.35, seed=0)
        scores = metrics.score(target, probabilities, 0.35)
        scores |= metrics.calibration_error(target, probabilities)
        for name in (*metrics.SCORES, "calibration_error"):
            low, high = found[name]
            assert low < scores[name] < high, name
    widths = [np.ptp(metrics.intervals(*rows, 0.35, seed=0)["f1"]) for rows in (small, large)]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)


@pytest.mark.parametrize("rows", [3, 200, 30_000])
def test_the_intervals_are_the_same_each_time(rows: int) -> None:
    few_or_many = answers(rows, seed=3)
    first = metrics.intervals(*few_or_many, 0.5, seed=1)
    assert metrics.intervals(*few_or_many, 0.5, seed=1) == first
    assert metrics.intervals(*few_or_many, 0.5, seed=2) != first


def test_the_order_of_the_rows_does_not_matter_to_scores() -> None:
    target, probabilities = answers(300, decimals=1)
    mixed = np.random.default_rng(5).permutation(300)
    before = metrics.score(target, probabilities, 0.3)
    before |= metrics.calibration_error(target, probabilities)
    after = metrics.score(target[mixed], probabilities[mixed], 0.3)
    after |= metrics.calibration_error(target[mixed], probabilities[mixed])
    assert after == pytest.approx(before, abs=1e-12)


def test_a_rare_class_still_gets_an_interval() -> None:
    target = np.array([1, 1] + [0] * 38)
    probabilities = np.linspace(0.9, 0.1, 40)
    low, high = metrics.intervals(target, probabilities, 0.5, seed=0)["roc_auc"]
    assert 0 <= low <= high <= 1


def test_rows_of_one_class_have_no_interval_of_the_roc_auc(
    recwarn: pytest.WarningsRecorder,
) -> None:
    found = metrics.intervals(np.ones(30, np.int64), np.linspace(0, 1, 30), 0.5, seed=0)
    assert "roc_auc" not in found
    assert found["precision"] == (1, 1)
    assert not recwarn.list


def test_the_gain_of_calling_everybody_positive_is_exactly_nothing() -> None:
    target, probabilities = answers(300)
    gain = metrics.intervals(target, probabilities, -1.0, seed=0)["f1_over_naive"]
    assert gain == (0, 0)


def test_intervals_become_one_flat_object() -> None:
    flat = metrics.flat({"f1": (0.1, 0.2), "roc_auc": (0.3, 0.4)})
    assert flat == {"f1_low": 0.1, "f1_high": 0.2, "roc_auc_low": 0.3, "roc_auc_high": 0.4}


# Calibration


@pytest.mark.parametrize(("rows", "decimals"), [(5, 2), (101, 1), (400, 1), (999, 8)])
def test_the_bins_are_those_of_scikit_learn(rows: int, decimals: int) -> None:
    target, probabilities = answers(rows, decimals=decimals)
    bins = metrics.calibration(target, probabilities)
    observed, predicted = calibration_curve(target, probabilities, n_bins=10, strategy="quantile")
    assert [bin_.observed for bin_ in bins] == pytest.approx(observed)
    assert [bin_.predicted for bin_ in bins] == pytest.approx(predicted)
    assert sum(bin_.rows for bin_ in bins) == rows


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    probabilities = np.repeat([0.2, 0.6], 50)
    target = np.concatenate([np.arange(50) < 15, np.arange(50) < 25]).astype(np.int64)
    # 30 % where 20 % are predicted, 50 % where 60 % are.
    found = metrics.calibration_error(target, probabilities)
    assert found["calibration_error"] == pytest.approx(0.1)


def test_chance_is_what_a_perfectly_calibrated_model_shows_on_average() -> None:
    _, probabilities = answers(1000, decimals=8)
    rng = np.random.default_rng(0)
    shown = [
        metrics.calibration_error((rng.random(1000) < probabilities).astype(int), probabilities)
        for _ in range(200)
    ]
    mean = np.mean([each["calibration_error"] for each in shown])
    assert shown[0]["calibration_error_chance"] == pytest.approx(mean, rel=0.05)


def test_the_interval_of_a_calibrated_model_holds_what_chance_explains() -> None:
    held = 0
    for seed in range(40):
        target, probabilities = answers(1000, seed, decimals=8)
        low, high = metrics.intervals(target, probabilities, 0.5, seed=0)["calibration_error"]
        chance = metrics.calibration_error(target, probabilities)["calibration_error_chance"]
        held += low <= chance <= high
    assert held >= 35


def test_a_model_that_is_off_is_off_beyond_chance() -> None:
    target, probabilities = answers(1000, decimals=8)
    off = np.clip(probabilities + 0.1, 0, 1)
    error = metrics.calibration_error(target, off)
    assert error["calibration_error"] == pytest.approx(0.1, abs=0.02)
    low, _ = metrics.intervals(target, off, 0.5, seed=0)["calibration_error"]
    assert low > error["calibration_error_chance"]


@pytest.mark.parametrize(("count", "rows"), [(0, 7), (3, 7), (7, 7), (1, 1), (270, 1000)])
def test_the_interval_of_a_share_is_wilsons(count: int, rows: int) -> None:
    wanted = stats.binomtest(count, rows).proportion_ci(method="wilson")
    assert metrics.proportion_interval(count, rows) == pytest.approx(wanted, abs=1e-12)


# Gain and lift


@examples
@given(PAIRS)
def test_gain_is_what_calling_in_order_finds_on_average_over_ties(
    pairs: list[tuple[bool, int]],
) -> None:
    target, probabilities = few(pairs[:5])
    size = len(target)
    orders = [
        order
        for order in itertools.permutations(range(size))
        if (np.diff(probabilities[list(order)]) <= 0).all()
    ]
    wanted = np.mean([np.cumsum(target[list(order)]) for order in orders], axis=0) / target.sum()
    shares = np.arange(1, size + 1) / size
    assert metrics.gain(target, probabilities, shares) == pytest.approx(wanted)


@examples
@given(PAIRS)
def test_the_deciles_add_up(pairs: list[tuple[bool, int]]) -> None:
    target, probabilities = few(pairs)
    deciles = metrics.deciles(target, probabilities)
    assert [decile.number for decile in deciles] == list(range(1, 11))
    assert sum(decile.rows for decile in deciles) == len(target)
    assert sum(decile.positives for decile in deciles) == target.sum()
    gains = np.array([0, *(decile.gain for decile in deciles)])
    lifts = np.array([decile.lift for decile in deciles])
    assert np.diff(gains) == pytest.approx(lifts / 10)
    assert gains[-1] == pytest.approx(1)
    assert (np.diff(gains) >= -1e-12).all()
    lowest = [decile.lowest for decile in deciles]
    assert lowest == sorted(lowest, reverse=True)
    assert lowest[-1] == probabilities.min()


@examples
@given(PAIRS, st.randoms(use_true_random=False))
def test_the_deciles_do_not_depend_on_the_order_of_the_rows(
    pairs: list[tuple[bool, int]], random: Random
) -> None:
    target, probabilities = few(pairs)
    mixed = random.sample(range(len(target)), len(target))
    assert metrics.deciles(target[mixed], probabilities[mixed]) == metrics.deciles(
        target, probabilities
    )


def test_the_first_decile_holds_the_highest_probabilities() -> None:
    target = np.zeros(100, np.int64)
    target[90:] = target[0] = 1
    first, second, *_ = metrics.deciles(target, np.linspace(0, 1, 100))
    assert (first.rows, first.positives, second.positives) == (10, 10, 0)
    assert first.gain == pytest.approx(10 / 11)
    assert first.lift == pytest.approx(1 / 0.11)
    assert first.lowest == pytest.approx(90 / 99)


def test_a_model_with_one_answer_for_all_lifts_nothing() -> None:
    target, _ = answers(57)
    lifts = [decile.lift for decile in metrics.deciles(target, np.full(57, 0.3))]
    assert lifts == pytest.approx([1] * 10)


def test_the_deciles_become_one_flat_object() -> None:
    target, probabilities = answers(100)
    flat = metrics.flat_deciles(metrics.deciles(target, probabilities))
    numbers = range(1, 11)
    assert flat.keys() == {
        *(f"lift_decile_{number}" for number in numbers),
        *(f"gain_decile_{number}" for number in numbers),
    }
    assert flat["gain_decile_10"] == pytest.approx(1)


# Costs


@examples
@given(st.floats(0.1, 100), st.floats(0.1, 100))
def test_no_threshold_costs_less_than_the_one_by_cost_where_probabilities_are_true(
    false_negative: float, false_positive: float
) -> None:
    costs = Costs(false_negative, false_positive)
    p = np.linspace(0, 1, 501)

    def expected(threshold: float) -> float:
        called = p >= threshold
        return float(np.where(called, (1 - p) * false_positive, p * false_negative).mean())

    least = min(expected(threshold) for threshold in np.linspace(0, 1.01, 300))
    assert expected(costs.threshold) <= least + 1e-9


def test_what_costs_nothing_moves_the_threshold_to_its_end() -> None:
    target, probabilities = answers(100)
    for costs, threshold in ((Costs(5, 0), 0), (Costs(0, 3), 1)):
        assert costs.threshold == threshold
        assert metrics.cost(target, probabilities, 0.5, costs)["cost_per_customer"] == 0


def test_the_costs_are_those_of_the_mistakes() -> None:
    target = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    probabilities = np.array([0.9, 0.1, 0.8, 0.5, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert metrics.cost(target, probabilities, 0.6, COSTS) == pytest.approx(
        {
            "cost_threshold": 1 / 6,
            "cost_per_customer": (5 + 3) / 10,
            "cost_per_customer_f1_threshold": (5 + 1) / 10,
            "cost_per_customer_nobody": 10 / 10,
            "cost_per_customer_everybody": 8 / 10,
            "cost_saved": 0.0,
            "called_cost_threshold": 0.4,
            "called_f1_threshold": 0.2,
            "recall_cost_threshold": 0.5,
        }
    )


@examples
@given(PAIRS)
def test_the_curve_of_costs_is_that_of_each_threshold(pairs: list[tuple[bool, int]]) -> None:
    target, probabilities = few(pairs)
    thresholds = np.array([0.0, 0.25, 0.5, 0.51, 1.0, 1.1])
    wanted = [
        COSTS.per_row(target, (probabilities >= threshold).astype(np.int64)).mean()
        for threshold in thresholds
    ]
    assert metrics.cost_curve(target, probabilities, thresholds, COSTS) == pytest.approx(wanted)
