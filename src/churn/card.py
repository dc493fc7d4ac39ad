"""The model card: what a version is, how well it answers, where it is weak and what it was made
from, as one HTML page that needs nothing else (after Mitchell et al. 2019, Model Cards for Model
Reporting)."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from churn import dataset, weaknesses
from churn.dataset import Excluded, Feature, Split
from churn.evaluation import Evaluation
from churn.gate import Verdict
from churn.metrics import Intervals
from churn.registry import Tag, Version
from churn.settings import Params


@dataclass(frozen=True)
class Card:
    """All that the page says. `choice` is that of models/training.json, `parameters` are those of
    the estimator as the run has them, `images` are PNG files by their plot's name."""

    model: str
    version: Version
    run_url: str
    verdict: Verdict
    params: Params
    choice: dict[str, Any]
    parameters: dict[str, str]
    train: Split
    test: Split
    features: list[Feature]
    excluded: list[Excluded]
    evaluation: Evaluation
    images: dict[str, bytes]


def render(card: Card) -> str:
    """The page. Every value is escaped; it loads nothing, runs nothing and names no folder."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "interval": _interval, "count": _count}
    return environment.get_template("model_card.html").render(
        card=card,
        summary=summary(card),
        scores=list(_score_lines(card)),
        policies=list(_policies(card)),
        weak=weaknesses.weaknesses(card.evaluation, card.test, card.features),
        comparisons=weaknesses.comparisons(card.evaluation),
        source=dataset.source(card.params.data.source),
        figures=_figures(card),
        Tag=Tag,
    )


def summary(card: Card) -> str:
    """What the version does, in plain words."""
    scores, test = card.evaluation.scores, card.test
    return (
        f"On {test.rows:,} customers that it had not seen, of whom {test.positives:,}"
        f" ({_percent(test.positive_rate)}) left, it gives a leaver a higher probability than a"
        f" stayer in {_of_100(scores['roc_auc'])} of 100 pairs. With its threshold"
        f" {card.choice['threshold']:g} it finds {_of_100(scores['recall'])} of 100 leavers, and"
        f" {_of_100(scores['precision'])} of 100 customers that it names do leave."
    )


@dataclass(frozen=True)
class _Line:
    """A line of the table of scores."""

    name: str
    key: str
    meaning: str
    naive: float | None
    against: str


def _score_lines(card: Card) -> Iterator[_Line]:
    scores, threshold = card.evaluation.scores, f"{card.choice['threshold']:g}"

    def line(name: str, key: str, naive: str, meaning: str, lower: bool = False) -> _Line:
        beside = scores[naive] if naive else None
        return _Line(
            name, key, meaning, beside, _against(card.evaluation.intervals, key, beside, lower)
        )

    recall, precision = _of_100(scores["recall"]), _of_100(scores["precision"])
    pairs, error = _of_100(scores["roc_auc"]), _points(scores["calibration_error"])
    yield line(
        "ROC-AUC",
        "roc_auc",
        "naive_roc_auc",
        f"in {pairs} of 100 pairs the leaver has the higher probability",
    )
    yield line(
        "F1",
        "f1",
        "naive_f1_all_positive",
        f"precision and recall in one number, at threshold {threshold}",
    )
    yield line(
        "Precision",
        "precision",
        "naive_precision_all_positive",
        f"of 100 customers it names, {precision} leave",
    )
    yield line("Recall", "recall", "", f"of 100 leavers it names {recall}")
    yield line(
        "Accuracy",
        "accuracy",
        "naive_accuracy_majority",
        "the share of right answers; naive is to name nobody, or everybody",
    )
    yield line(
        "Log loss",
        "log_loss",
        "naive_log_loss_prior",
        "how good the probabilities are; lower is better, and certain mistakes weigh most",
        lower=True,
    )
    yield line(
        "Brier score",
        "brier",
        "naive_brier_prior",
        "the mean squared error of the probabilities; lower is better",
        lower=True,
    )
    yield line(
        "Calibration error",
        "calibration_error",
        "calibration_error_chance",
        f"the probabilities are off by {error} on average; beside it what chance alone would show",
        lower=True,
    )


def _against(intervals: Intervals, key: str, naive: float | None, lower: bool) -> str:
    """How the interval stands to what is beside it, in a word or two."""
    if naive is None:
        return ""
    low, high = intervals[key]
    if key == "f1":  # the difference on the same rows tells more than two numbers side by side
        (low, high), naive = intervals["f1_over_naive"], 0.0
    if key == "calibration_error":
        return "beyond chance" if low > naive else "as by chance"
    if low <= naive <= high:
        return "no clear difference"
    return "better" if (high < naive) == lower else "worse"


@dataclass(frozen=True)
class _Policy:
    """Whom to call, and what comes of it: shares are 0 to 1, the cost is per customer."""

    name: str
    note: str
    called: float
    found: float
    cost: float
    interval: tuple[float, float] | None = None


def _policies(card: Card) -> Iterator[_Policy]:
    scores, by_f1 = card.evaluation.scores, card.choice["threshold"]
    yield _Policy(
        f"from {scores['cost_threshold']:.3g}",
        "the threshold by cost",
        scores["called_cost_threshold"],
        scores["recall_cost_threshold"],
        scores["cost_per_customer"],
        card.evaluation.intervals["cost_per_customer"],
    )
    yield _Policy(
        f"from {by_f1:g}",
        "the threshold by F1, which the model applies",
        scores["called_f1_threshold"],
        scores["recall"],
        scores["cost_per_customer_f1_threshold"],
    )
    yield _Policy("nobody", "", 0.0, 0.0, scores["cost_per_customer_nobody"])
    yield _Policy("everybody", "", 1.0, 1.0, scores["cost_per_customer_everybody"])


@dataclass(frozen=True)
class _Figure:
    """An image as a data URI, with what it shows for those who do not see it, and how to read it
    for those who do."""

    uri: str
    alt: str
    caption: str


def _figures(card: Card) -> dict[str, _Figure]:
    scores, threshold = card.evaluation.scores, f"{card.choice['threshold']:g}"
    top = card.evaluation.deciles[0]
    texts = {
        "roc": (
            f"ROC curve with an area of {scores['roc_auc']:.3f}",
            "The further the curve is from the diagonal, the better it ranks.",
        ),
        "precision_recall": (
            "Precision over recall",
            "Finding more leavers costs precision; the dashed line is calling everybody.",
        ),
        "confusion": (
            f"Confusion matrix: precision {scores['precision']:.3f}, recall {scores['recall']:.3f}",
            f"What became of the customers at threshold {threshold}.",
        ),
        "threshold": (
            f"F1 over the threshold, {threshold} was chosen in training",
            "A flat top means that the exact threshold matters little.",
        ),
        "gain": (
            f"Cumulative gain: the first tenth holds {_percent(top.gain)} of the leavers",
            "Read up from the share of customers that you can call.",
        ),
        "lift": (
            f"Lift by decile, {top.lift:.1f} in the first",
            "How many times more leavers a tenth holds than a random tenth.",
        ),
        "cost": (
            f"Cost per customer over the threshold, {scores['cost_per_customer']:.3g} at"
            f" {scores['cost_threshold']:.3g}",
            "The dotted threshold follows from the costs alone, not from these rows.",
        ),
        "calibration": (
            f"Observed against predicted share of leavers, off by"
            f" {_points(scores['calibration_error'])} on average",
            "On the diagonal a probability of 30% means that 30 of 100 leave.",
        ),
        "segments": (
            "ROC-AUC of each segment with its interval",
            "The dashed line is all customers; an interval left of it is a weakness.",
        ),
        "importance": (
            "Permutation importance of the features",
            "How much ROC-AUC falls when a feature's values are shuffled.",
        ),
    }
    return {
        name: _Figure(f"data:image/png;base64,{b64encode(image).decode()}", *texts[name])
        for name, image in card.images.items()
    }


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _of_100(share: float) -> str:
    return f"{share * 100:.0f}"


def _points(share: float) -> str:
    return f"{share * 100:.1f} points"


def _interval(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _count(number: int) -> str:
    return f"{number:,}"
