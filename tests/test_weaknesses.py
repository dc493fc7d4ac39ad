from dataclasses import replace

import pytest

from churn.dataset import Feature, Split
from churn.evaluation import Evaluation
from churn.metrics import Bin
from churn.segments import Segment
from churn.weaknesses import comparisons, weaknesses

TEST = Split(rows=2000, positives=500)
FEATURE = Feature("months", "integer", "", "0 to 72", missing=0.0, varies=True)
# A model without a flaw.
FOUND = Evaluation(
    scores={"roc_auc": 0.85, "calibration_error": 0.012, "calibration_error_chance": 0.015},
    intervals={
        "f1": (0.62, 0.68),
        "f1_over_naive": (0.1, 0.2),
        "cost_saved": (0.1, 0.2),
        "calibration_error": (0.005, 0.02),
    },
    deciles=[],
    calibration=[Bin(rows=200, predicted=0.3, observed=0.31, low=0.25, high=0.37)],
    segments=[],
)


def group(**changes: object) -> Segment:
    """A segment that is as good as the rest."""
    plain = Segment(
        column="region",
        group="EU",
        key="segment/region/EU",
        rows=400,
        positives=100,
        predicted=0.25,
        scores={"roc_auc": 0.84},
        intervals={"roc_auc": (0.8, 0.88)},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_nothing_is_found_where_nothing_is_weak() -> None:
    found = replace(FOUND, segments=[group()])
    assert weaknesses(found, TEST, [FEATURE]) == []
    assert comparisons(found) == 3


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ({"f1_over_naive": (0.0, 0.2)}, "not clearly better than that of calling everybody"),
        ({"cost_saved": (-0.01, 0.2)}, "does not clearly save anything"),
        ({"f1": (0.5, 0.65)}, "F1 may be anything from 0.500 to 0.650"),
        ({"calibration_error": (0.016, 0.03)}, "off by 1.2 points on average, where chance"),
    ],
)
def test_an_interval_tells(interval: dict[str, tuple[float, float]], said: str) -> None:
    (sentence,) = weaknesses(replace(FOUND, intervals=FOUND.intervals | interval), TEST, [])
    assert said in sentence


def test_few_and_rare_leavers_are_told() -> None:
    few, rare = weaknesses(FOUND, Split(rows=4000, positives=80), [])
    assert "only 80 leavers" in few
    assert "Leavers are rare (2.0%)" in rare


def test_a_score_too_good_to_be_true_is_told() -> None:
    (sentence,) = weaknesses(replace(FOUND, scores=FOUND.scores | {"roc_auc": 0.993}), TEST, [])
    assert "0.993 is rare: make sure that no feature" in sentence


def test_a_bin_is_far_off_only_beyond_chance_and_by_much() -> None:
    off = Bin(rows=207, predicted=0.19, observed=0.266, low=0.21, high=0.33)
    little = Bin(rows=90_000, predicted=0.19, observed=0.195, low=0.192, high=0.198)
    chance = Bin(rows=20, predicted=0.19, observed=0.3, low=0.15, high=0.52)
    (sentence,) = weaknesses(replace(FOUND, calibration=[off, little, chance]), TEST, [])
    assert sentence == "Of 207 customers with a probability of about 19.0%, 26.6% left."


def test_a_segment_whose_interval_lies_below_the_whole_is_told() -> None:
    below = group(scores={"roc_auc": 0.7}, intervals={"roc_auc": (0.65, 0.75)})
    touching = group(group="NA", scores={"roc_auc": 0.8}, intervals={"roc_auc": (0.75, 0.86)})
    (sentence,) = weaknesses(replace(FOUND, segments=[below, touching]), TEST, [])
    assert sentence.startswith("region = EU: it ranks these 400 customers less well, ROC-AUC 0.700")


def test_a_segment_with_wrong_expectations_is_told() -> None:
    (sentence,) = weaknesses(replace(FOUND, segments=[group(predicted=0.4)]), TEST, [])
    assert "it expects 40.0% of these 400 customers to leave, and 25.0% did" in sentence


def test_small_groups_are_named_and_not_judged() -> None:
    tiny = [group(group=f"g{number}", rows=29, positives=14) for number in range(7)]
    one_class = group(group="calm", positives=3, scores={}, intervals={}, predicted=0.9)
    found = replace(FOUND, segments=[*tiny, one_class])
    (sentence,) = weaknesses(found, TEST, [])
    assert sentence.startswith("Too few customers or leavers to judge: region = g0 (29); ")
    assert sentence.endswith(" and 2 more.")
    assert comparisons(found) == 1


def test_features_that_say_little_are_told() -> None:
    constant = replace(FEATURE, name="country", varies=False)
    missing = replace(FEATURE, name="income", missing=0.73)
    assert weaknesses(FOUND, TEST, [FEATURE, constant, missing]) == [
        "These features never vary and add nothing: country.",
        "income is missing for 73.0% of the customers.",
    ]
