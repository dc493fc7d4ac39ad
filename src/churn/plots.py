"""The plots of an evaluation: each as a table that DVC draws, and as an image for MLflow."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import metrics as sk

from churn import evaluation, metrics
from churn.segments import Segment
from churn.settings import Params

IMPORTANCE_ROWS = 5_000
SHUFFLES = 5
_ROWS_AT_ONCE = 100_000
_POINTS = 500
_BARS = 20
_LONGEST_LABEL = 28
_INK, _ACCENT, _FAINT = "#1f2937", "#2563eb", "#9ca3af"


@dataclass(frozen=True)
class Marks:
    """What plots point out: the threshold chosen in training, the one by cost, and the ROC-AUC of
    all rows, each 0 to 1."""

    threshold: float
    cost_threshold: float
    roc_auc: float


def tables(
    params: Params,
    model: Any,
    features: pd.DataFrame,
    target: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    segments: list[Segment],
) -> dict[str, pd.DataFrame]:
    """The data of each plot by its name, from the fitted model and the test split's rows (in the
    same order). Without a segment that has a ROC-AUC, the table of segments is empty."""
    false_rate, true_rate, _ = sk.roc_curve(target, probabilities)
    precision, recall, thresholds = sk.precision_recall_curve(target, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    prediction = (probabilities >= model.threshold).astype(int)
    shares = np.linspace(0, 1, 101)
    costs = metrics.cost_curve(target, probabilities, shares, evaluation.costs(params))
    return {
        "roc": _thinned({"false_positive_rate": false_rate, "true_positive_rate": true_rate}),
        "precision_recall": _thinned({"recall": recall[::-1], "precision": precision[::-1]}),
        "calibration": pd.DataFrame(metrics.calibration(target, probabilities)),
        "confusion": pd.DataFrame({"actual": target, "predicted": prediction}),
        "threshold": _thinned({"threshold": thresholds, "f1": f1[:-1]}),
        "gain": pd.DataFrame(
            {"share_called": shares, "gain": metrics.gain(target, probabilities, shares)}
        ),
        "lift": pd.DataFrame(metrics.deciles(target, probabilities))[["number", "lift"]].rename(
            columns={"number": "decile"}
        ),
        "cost": pd.DataFrame({"threshold": shares, "cost_per_customer": costs}),
        "segments": _segments_table(segments),
        "importance": _importance(model, features, target, params.train.seed),
    }


def _segments_table(segments: list[Segment]) -> pd.DataFrame:
    """The ROC-AUC of each segment that has one, with its interval."""
    return pd.DataFrame(
        [
            (segment.name, segment.scores["roc_auc"], *segment.intervals["roc_auc"], segment.rows)
            for segment in segments
            if "roc_auc" in segment.scores
        ],
        columns=["segment", "roc_auc", "low", "high", "rows"],
    )


def _thinned(columns: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    """At most _POINTS rows, evenly taken, first and last among them: what a plot can show."""
    table = pd.DataFrame(columns)
    if len(table) <= _POINTS:
        return table
    return table.iloc[np.linspace(0, len(table) - 1, _POINTS).round().astype(int)]


def _importance(
    model: Any, features: pd.DataFrame, target: NDArray[np.int64], seed: int
) -> pd.DataFrame:
    """How much ROC-AUC falls when a feature's values are shuffled (permutation importance, Breiman
    2001), on IMPORTANCE_ROWS rows at most.

    Mean and standard deviation of SHUFFLES shuffles; a value near 0 says that the model does
    without the feature.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(target))[:IMPORTANCE_ROWS]
    if len(np.unique(target[drawn])) < 2:
        drawn = np.arange(len(target))
    rows, labels = features.iloc[drawn].reset_index(drop=True), target[drawn]
    orders = [rng.permutation(len(rows)) for _ in range(SHUFFLES)]
    whole = sk.roc_auc_score(labels, model.predict_proba(rows)[:, 1])
    names = list(features.columns)
    # The shuffles of many features in one call: on a busy machine each call waits for each thread,
    # which for gradient boosting made it 20 times as long as all the work.
    at_once = max(1, _ROWS_AT_ONCE // (SHUFFLES * len(rows)))
    falls = [
        whole - sk.roc_auc_score(labels, probabilities)
        for start in range(0, len(names), at_once)
        for probabilities in _shuffled(model, rows, names[start : start + at_once], orders)
    ]
    by_feature = np.reshape(falls, (len(names), SHUFFLES))
    mean, deviation = by_feature.mean(axis=1), by_feature.std(axis=1)
    table = pd.DataFrame({"feature": names, "roc_auc_drop": mean, "deviation": deviation})
    return table.sort_values("roc_auc_drop", ascending=False, ignore_index=True)


def _shuffled(
    model: Any, rows: pd.DataFrame, names: list[str], orders: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """The probabilities with one feature's values in another order, for each feature and order:
    shape (features * orders, rows)."""
    tables = [
        rows.assign(**{name: rows[name].array.take(order)}) for name in names for order in orders
    ]
    probabilities = model.predict_proba(pd.concat(tables, ignore_index=True))[:, 1]
    return np.reshape(probabilities, (len(tables), len(rows)))


def write(plots: dict[str, pd.DataFrame], marks: Marks, folder: Path) -> list[Path]:
    """Write <name>.csv and <name>.png for each plot into `folder`; the paths of the images. A table
    without rows has no image."""
    images = []
    # A column's name is no formula, and no error where the font lacks a letter of it.
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        for name, table in plots.items():
            table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
            if table.empty:
                continue
            image = folder / f"{name}.png"
            _draw(name, table, marks).savefig(image, dpi=144)
            images.append(image)
    return images


def _draw(name: str, table: pd.DataFrame, marks: Marks) -> Figure:
    # A layout engine draws a figure twice; only names of columns are labels of unknown length.
    named = name in ("importance", "segments")
    # Small, so that the text is large where the image is as wide as a phone.
    figure = Figure(figsize=(5, 3.75), layout="constrained" if named else None)
    axes = figure.subplots()
    if not named:
        figure.subplots_adjust(left=0.13, bottom=0.14, right=0.96, top=0.91)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _DRAWINGS[name](axes, table, marks)
    return figure


def _roc(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    x, y = table["false_positive_rate"], table["true_positive_rate"]
    axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", label="chance")
    axes.plot(x, y, color=_ACCENT, label=f"model, area {np.trapezoid(y, x):.3f}")
    axes.set(title="ROC curve", xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(frameon=False, loc="lower right")


def _precision_recall(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    rate = table["precision"].iloc[-1]
    axes.axhline(rate, color=_FAINT, linestyle="--", label=f"all positive, {rate:.3f}")
    axes.plot(table["recall"], table["precision"], color=_ACCENT, label="model")
    axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    axes.legend(frameon=False, loc="upper right")


def _calibration(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    observed = table["observed"]
    # At 0 and 1 an end of Wilson's interval is the share itself but for the last bit.
    reach = [(observed - table["low"]).clip(lower=0), (table["high"] - observed).clip(lower=0)]
    axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", label="perfect")
    axes.errorbar(
        table["predicted"], observed, reach, fmt="o-", color=_ACCENT, label="model, 95 % interval"
    )
    axes.set(
        title="Calibration, ten groups of equal size",
        xlabel="mean predicted probability",
        ylabel="observed share of positives",
    )
    axes.legend(frameon=False, loc="upper left")


def _confusion(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    counts = sk.confusion_matrix(table["actual"], table["predicted"], labels=[0, 1])
    axes.imshow(counts, cmap="Blues", aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if count > counts.max() / 2 else _INK
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink, fontsize=16)
    axes.set(
        title=f"Confusion at threshold {marks.threshold:g}",
        xlabel="predicted",
        ylabel="actual",
        xticks=[0, 1],
        yticks=[0, 1],
        xticklabels=["stays", "leaves"],
    )
    axes.set_yticks([0, 1], ["stays", "leaves"], rotation=90, va="center")


def _threshold(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    axes.plot(table["threshold"], table["f1"], color=_ACCENT, label="F1 on the test split")
    axes.axvline(
        marks.threshold, color=_INK, linestyle=":", label=f"chosen in training, {marks.threshold:g}"
    )
    axes.set(title="Threshold and F1", xlabel="threshold", ylabel="F1", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, loc="upper right")


def _gain(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", label="calling at random")
    axes.plot(table["share_called"], table["gain"], color=_ACCENT, label="by the model")
    axes.set(
        title="Cumulative gain",
        xlabel="share of customers called, most likely leavers first",
        ylabel="share of all leavers among them",
    )
    axes.legend(frameon=False, loc="lower right")


def _lift(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    bars = axes.bar(table["decile"], table["lift"], color=_ACCENT)
    axes.bar_label(bars, fmt="%.1f", fontsize=9, color=_INK)
    axes.axhline(1, color=_INK, linestyle="--", linewidth=1, label="calling at random")
    axes.set(
        title="Lift by decile",
        xlabel="decile, most likely leavers first",
        ylabel="leavers compared with the average",
        xticks=table["decile"],
    )
    axes.legend(frameon=False, loc="upper right")


def _cost(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    x, y = table["threshold"], table["cost_per_customer"]
    everybody, nobody = y.iloc[0], y.iloc[-1]
    axes.plot(x, y, color=_ACCENT, label="by the model")
    axes.axhline(nobody, color=_FAINT, linestyle="--", label=f"calling nobody, {nobody:.3g}")
    axes.axhline(
        everybody, color=_FAINT, linestyle="-.", label=f"calling everybody, {everybody:.3g}"
    )
    axes.axvline(
        marks.cost_threshold,
        color=_INK,
        linestyle=":",
        label=f"threshold by cost, {marks.cost_threshold:.3g}",
    )
    axes.set(
        title="Threshold and cost",
        xlabel="threshold",
        ylabel="cost per customer",
        xlim=(0, 1),
        ylim=(0, 1.6 * max(y.max(), 1e-12)),
    )
    axes.legend(loc="upper left", ncols=2, fontsize=9, framealpha=1, edgecolor="white")


def _segment_dots(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    largest = table.nlargest(_BARS, "rows").sort_index()[::-1]
    reach = [largest["roc_auc"] - largest["low"], largest["high"] - largest["roc_auc"]]
    places = range(len(largest))
    axes.axvline(marks.roc_auc, color=_INK, linestyle="--", linewidth=1)
    axes.errorbar(largest["roc_auc"], places, xerr=reach, fmt="o", color=_ACCENT)
    axes.set_yticks(places, _labels(largest["segment"]), fontsize=8 if len(largest) > 10 else 9)
    axes.set(
        title="ROC-AUC by segment, 95 % intervals",
        xlabel=f"ROC-AUC (dashed: all customers, {marks.roc_auc:.3f})",
    )


def _importance_bars(axes: Axes, table: pd.DataFrame, marks: Marks) -> None:
    top = table.head(_BARS)[::-1]
    places = range(len(top))
    axes.barh(places, top["roc_auc_drop"], xerr=top["deviation"], color=_ACCENT)
    axes.set_yticks(places, _labels(top["feature"]), fontsize=8 if len(top) > 10 else 9)
    axes.set(title="Permutation importance", xlabel="fall of ROC-AUC when shuffled")


def _labels(names: Iterable[str]) -> list[str]:
    """The names on one line each, short enough to leave room for the plot."""
    lines = (" ".join(name.split()) for name in names)
    return [
        line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 1]}…" for line in lines
    ]


_DRAWINGS: dict[str, Callable[[Axes, pd.DataFrame, Marks], None]] = {
    "roc": _roc,
    "precision_recall": _precision_recall,
    "calibration": _calibration,
    "confusion": _confusion,
    "threshold": _threshold,
    "gain": _gain,
    "lift": _lift,
    "cost": _cost,
    "segments": _segment_dots,
    "importance": _importance_bars,
}
