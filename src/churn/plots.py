"""The plots of an evaluation: each as a table that DVC draws, and as an image for MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.inspection import permutation_importance

IMPORTANCE_ROWS = 5_000
_POINTS = 500
_INK, _ACCENT, _FAINT = "#1f2937", "#2563eb", "#9ca3af"


def tables(
    model: Any,
    features: pd.DataFrame,
    target: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    threshold: float,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """The data of each plot by its name, from the test split's rows (in the same order)."""
    false_rate, true_rate, _ = sk.roc_curve(target, probabilities)
    precision, recall, thresholds = sk.precision_recall_curve(target, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    observed, predicted = calibration_curve(target, probabilities, n_bins=10, strategy="quantile")
    prediction = (probabilities >= threshold).astype(int)
    return {
        "roc": _thinned({"false_positive_rate": false_rate, "true_positive_rate": true_rate}),
        "precision_recall": _thinned({"recall": recall[::-1], "precision": precision[::-1]}),
        "calibration": pd.DataFrame({"predicted": predicted, "observed": observed}),
        "confusion": pd.DataFrame({"actual": target, "predicted": prediction}),
        "threshold": _thinned({"threshold": thresholds, "f1": f1[:-1]}),
        "importance": _importance(model, features, target, seed),
    }


def _thinned(columns: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    """At most _POINTS rows, evenly taken, first and last among them: what a plot can show."""
    table = pd.DataFrame(columns)
    if len(table) <= _POINTS:
        return table
    return table.iloc[np.linspace(0, len(table) - 1, _POINTS).round().astype(int)]


def _importance(
    model: Any, features: pd.DataFrame, target: NDArray[np.int64], seed: int
) -> pd.DataFrame:
    """How much ROC-AUC falls when a feature's values are shuffled, on IMPORTANCE_ROWS rows at most.

    Mean and standard deviation of 5 shuffles; a value near 0 says that the model does without it.
    """
    drawn = np.random.default_rng(seed).permutation(len(target))[:IMPORTANCE_ROWS]
    if len(np.unique(target[drawn])) < 2:
        drawn = np.arange(len(target))
    found = permutation_importance(
        model,
        features.iloc[drawn],
        target[drawn],
        scoring="roc_auc",
        n_repeats=5,
        random_state=seed,
    )
    table = pd.DataFrame(
        {
            "feature": features.columns,
            "roc_auc_drop": found.importances_mean,
            "deviation": found.importances_std,
        }
    )
    return table.sort_values("roc_auc_drop", ascending=False, ignore_index=True)


def write(plots: dict[str, pd.DataFrame], threshold: float, folder: Path) -> list[Path]:
    """Write <name>.csv and <name>.png for each plot into `folder`; the paths of the images."""
    images = []
    for name, table in plots.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
        # A layout engine draws a figure twice; only the bars have labels of unknown length.
        figure = Figure(figsize=(6, 4.5), layout="constrained" if name == "importance" else None)
        axes = figure.subplots()
        if name != "importance":
            figure.subplots_adjust(left=0.12, bottom=0.13, right=0.96, top=0.91)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        _DRAWINGS[name](axes, table, threshold)
        image = folder / f"{name}.png"
        figure.savefig(image, dpi=110)
        images.append(image)
    return images


def _roc(axes: Axes, table: pd.DataFrame, threshold: float) -> None:
    x, y = table["false_positive_rate"], table["true_positive_rate"]
    axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", label="chance")
    axes.plot(x, y, color=_ACCENT, label=f"model, area {np.trapezoid(y, x):.3f}")
    axes.set(title="ROC curve", xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(frameon=False, loc="lower right")


def _precision_recall(axes: Axes, table: pd.DataFrame, threshold: float) -> None:
    rate = table["precision"].iloc[-1]
    axes.axhline(rate, color=_FAINT, linestyle="--", label=f"all positive, {rate:.3f}")
    axes.plot(table["recall"], table["precision"], color=_ACCENT, label="model")
    axes.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.03))
    axes.legend(frameon=False, loc="upper right")


def _calibration(axes: Axes, table: pd.DataFrame, threshold: float) -> None:
    axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", label="perfect")
    axes.plot(table["predicted"], table["observed"], "o-", color=_ACCENT, label="model")
    axes.set(
        title="Calibration, ten groups of equal size",
        xlabel="mean predicted probability",
        ylabel="observed share of positives",
    )
    axes.legend(frameon=False, loc="upper left")


def _confusion(axes: Axes, table: pd.DataFrame, threshold: float) -> None:
    counts = sk.confusion_matrix(table["actual"], table["predicted"], labels=[0, 1])
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if count > counts.max() / 2 else _INK
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink, fontsize=16)
    axes.set(
        title=f"Confusion at threshold {threshold:g}",
        xlabel="predicted",
        ylabel="actual",
        xticks=[0, 1],
        yticks=[0, 1],
        xticklabels=["stays", "leaves"],
        yticklabels=["stays", "leaves"],
    )


def _threshold(axes: Axes, table: pd.DataFrame, threshold: float) -> None:
    axes.plot(table["threshold"], table["f1"], color=_ACCENT, label="F1 on the test split")
    axes.axvline(threshold, color=_INK, linestyle=":", label=f"chosen in training, {threshold:g}")
    axes.set(title="Threshold and F1", xlabel="threshold", ylabel="F1", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, loc="upper right")


def _importance_bars(axes: Axes, table: pd.DataFrame, threshold: float) -> None:
    top = table.head(20)[::-1]
    axes.barh(top["feature"], top["roc_auc_drop"], xerr=top["deviation"], color=_ACCENT)
    axes.set(title="Permutation importance", xlabel="fall of ROC-AUC when shuffled")


_DRAWINGS: dict[str, Callable[[Axes, pd.DataFrame, float], None]] = {
    "roc": _roc,
    "precision_recall": _precision_recall,
    "calibration": _calibration,
    "confusion": _confusion,
    "threshold": _threshold,
    "importance": _importance_bars,
}
