"""Where a model is weak, in sentences that follow from its numbers."""

from collections.abc import Iterator

from churn import metrics
from churn.dataset import Feature, Split
from churn.evaluation import Evaluation
from churn.segments import Segment

FEW_ROWS, FEW_OF_A_CLASS, FEW_POSITIVES = 30, 10, 100
"""Below these a group is too small to judge, and the test split has few positives."""

RARE, WIDE_F1, FAR_OFF, MOSTLY_MISSING, TOO_GOOD = 0.05, 0.1, 0.03, 0.5, 0.98
"""Thresholds of the remarks: a rare class, a wide interval of F1, a probability that is far off, a
feature that is mostly missing, and a ROC-AUC that is too good to be true."""

_SHOWN_GROUPS = 6


def comparisons(found: Evaluation) -> int:
    """How many groups weaknesses() holds against an interval, some of which stand out by chance."""
    return len(found.calibration) + 2 * sum(not _is_small(each) for each in found.segments)


def weaknesses(found: Evaluation, test: Split, features: list[Feature]) -> list[str]:
    """One sentence for each weakness that shows in the test split or in the features; it may be
    empty."""
    return [
        *_of_scores(found, test),
        *_of_calibration(found),
        *_of_segments(found),
        *_of_features(features),
    ]


def _of_scores(found: Evaluation, test: Split) -> Iterator[str]:
    if found.intervals["f1_over_naive"][0] <= 0:
        yield "Its F1 is not clearly better than that of calling everybody."
    if found.intervals["cost_saved"][0] <= 0:
        yield (
            "At the given costs it does not clearly save anything against the better of calling"
            " nobody and calling everybody."
        )
    if test.positives < FEW_POSITIVES:
        yield (
            f"The test split has only {test.positives:,} leavers: every number here is uncertain,"
            " as the intervals say."
        )
    low, high = found.intervals["f1"]
    if high - low > WIDE_F1:
        yield f"F1 may be anything from {low:.3f} to {high:.3f}: more rows would tell."
    if test.positive_rate < RARE:
        yield (
            f"Leavers are rare ({test.positive_rate:.1%}): accuracy says little, precision"
            " and lift say more."
        )
    auc = found.scores["roc_auc"]
    if auc > TOO_GOOD:
        yield (
            f"A ROC-AUC of {auc:.3f} is rare: make sure that no feature is recorded after a"
            " customer has left."
        )


def _of_calibration(found: Evaluation) -> Iterator[str]:
    names = ("calibration_error", "calibration_error_chance")
    error, chance = (found.scores[name] for name in names)
    low, _ = found.intervals["calibration_error"]
    if low > chance:
        yield (
            f"Its probabilities are off by {error * 100:.1f} points on average, where chance"
            f" explains {chance * 100:.1f}: take them as a ranking, and the threshold by cost with"
            " care."
        )
    for bin_ in found.calibration:
        if _is_off(bin_.predicted, bin_.low, bin_.high, bin_.observed):
            yield (
                f"Of {bin_.rows:,} customers with a probability of about"
                f" {bin_.predicted:.1%}, {bin_.observed:.1%} left."
            )


def _of_segments(found: Evaluation) -> Iterator[str]:
    overall = found.scores["roc_auc"]
    judged = [segment for segment in found.segments if not _is_small(segment)]
    for segment in judged:
        low, high = segment.intervals["roc_auc"]
        if high < overall:
            yield (
                f"{segment.name}: it ranks these {segment.rows:,} customers less well, ROC-AUC"
                f" {segment.scores['roc_auc']:.3f} [{low:.3f}, {high:.3f}] against {overall:.3f}"
                " for all."
            )
    for segment in judged:
        low, high = metrics.proportion_interval(segment.positives, segment.rows)
        if _is_off(segment.predicted, low, high, segment.positive_rate):
            yield (
                f"{segment.name}: it expects {segment.predicted:.1%} of these"
                f" {segment.rows:,} customers to leave, and {segment.positive_rate:.1%} did."
            )
    small = [segment for segment in found.segments if _is_small(segment)]
    if small:
        named = "; ".join(f"{each.name} ({each.rows:,})" for each in small[:_SHOWN_GROUPS])
        more = f" and {len(small) - _SHOWN_GROUPS} more" if len(small) > _SHOWN_GROUPS else ""
        yield f"Too few customers or leavers to judge: {named}{more}."


def _is_small(segment: Segment) -> bool:
    smaller = min(segment.positives, segment.rows - segment.positives)
    return segment.rows < FEW_ROWS or smaller < FEW_OF_A_CLASS


def _is_off(predicted: float, low: float, high: float, observed: float) -> bool:
    """Whether a mean probability differs from what was observed, beyond chance and by much."""
    return not low <= predicted <= high and abs(predicted - observed) >= FAR_OFF


def _of_features(features: list[Feature]) -> Iterator[str]:
    constant = [feature.name for feature in features if not feature.varies]
    if constant:
        yield f"These features never vary and add nothing: {', '.join(constant)}."
    for feature in features:
        if feature.missing > MOSTLY_MISSING:
            yield f"{feature.name} is missing for {feature.missing:.1%} of the customers."
