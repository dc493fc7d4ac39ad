import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, f1_score, log_loss, roc_auc_score

from churn.comparison import COMPARED, Answers, Difference, compare, flat

RNG = np.random.default_rng(5)
ROWS = 600
TARGET = RNG.integers(0, 2, ROWS)


def answers(skill: float, seed: int) -> Answers:
    """Of a model that knows more, the higher its `skill`."""
    noise = np.random.default_rng(seed).normal(size=ROWS)
    return Answers(1 / (1 + np.exp(-(skill * (TARGET - 0.5) + noise))), 0.5)


def test_scores_and_gains_are_those_of_scikit_learn() -> None:
    one, other = answers(2, 1), answers(1, 2)
    found = compare(TARGET, one, other, seed=3)
    assert tuple(found) == COMPARED

    def scored(given: Answers) -> dict[str, float]:
        called: NDArray[np.int64] = (given.probabilities >= given.threshold).astype(np.int64)
        return {
            "roc_auc": roc_auc_score(TARGET, given.probabilities),
            "f1": f1_score(TARGET, called),
            "log_loss": log_loss(TARGET, given.probabilities),
            "brier": brier_score_loss(TARGET, given.probabilities),
        }

    ours, theirs = scored(one), scored(other)
    for name, each in found.items():
        assert each.challenger == pytest.approx(ours[name])
        assert each.champion == pytest.approx(theirs[name])
        sign = -1 if name in ("log_loss", "brier") else 1
        assert each.gain == pytest.approx(sign * (ours[name] - theirs[name]))
        assert each.low < each.gain < each.high


def test_a_better_challenger_gains_by_every_metric() -> None:
    found = compare(TARGET, answers(4, 1), answers(1, 2), seed=3)
    assert all(each.low > 0 for each in found.values())
    assert not any(each.worse_by_more_than(0) for each in found.values())


def test_a_worse_challenger_is_worse_by_every_metric() -> None:
    found = compare(TARGET, answers(1, 2), answers(4, 1), seed=3)
    assert all(each.worse_by_more_than(0.01) for each in found.values())


def test_a_model_does_not_differ_from_itself() -> None:
    found = compare(TARGET, answers(1, 2), answers(1, 2), seed=3)
    assert all((each.gain, each.low, each.high) == (0, 0, 0) for each in found.values())


def test_the_same_rows_are_drawn_for_both_so_that_what_they_share_cancels_out() -> None:
    base = answers(1, 2)
    nearly = Answers(np.clip(base.probabilities + 1e-4 * TARGET, 0, 1), base.threshold)
    found = compare(TARGET, nearly, base, seed=3)["roc_auc"]
    assert found.high - found.low < 0.001, "unpaired it would be about 0.1"


def test_the_interval_covers_a_true_difference_of_nothing_about_as_often_as_it_says() -> None:
    outside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        target = rng.integers(0, 2, 200)
        one, other = (rng.normal(size=200) + target for _ in range(2))
        found = compare(
            target, Answers(1 / (1 + np.exp(-one)), 0.5), Answers(1 / (1 + np.exp(-other)), 0.5), 1
        )
        outside += not found["roc_auc"].low <= 0 <= found["roc_auc"].high
    assert outside <= 8, "3 of 60 are expected"


def test_the_same_rows_and_seed_give_the_same() -> None:
    one, other = answers(2, 1), answers(1, 2)
    assert compare(TARGET, one, other, seed=3) == compare(TARGET, one, other, seed=3)


@pytest.mark.parametrize(("high", "worse"), [(-0.011, True), (-0.01, False), (0.2, False)])
def test_worse_means_that_the_whole_interval_lies_below(high: float, worse: bool) -> None:
    difference = Difference("roc_auc", 0.8, 0.9, -0.1, -0.3, high)
    assert difference.worse_by_more_than(0.01) == worse


def test_how_a_difference_reads_and_is_recorded() -> None:
    difference = Difference("roc_auc", 0.8532, 0.8569, -0.0037, -0.0053, -0.0021)
    assert str(difference) == "roc_auc 0.8532 against 0.8569: -0.0037 [-0.0053, -0.0021]"
    assert flat({"roc_auc": difference}) == {
        "roc_auc": 0.8532,
        "roc_auc_champion": 0.8569,
        "roc_auc_gain": -0.0037,
        "roc_auc_gain_low": -0.0053,
        "roc_auc_gain_high": -0.0021,
    }
