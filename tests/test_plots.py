from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from churn import plots

Evaluated = tuple[Any, pd.DataFrame, NDArray[np.int64], NDArray[np.float64]]

NAMES = {"roc", "precision_recall", "calibration", "confusion", "threshold", "importance"}


@pytest.fixture(scope="module")
def evaluated() -> Evaluated:
    """A model with one feature that tells and one that does not, and its test split."""
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"noise": rng.normal(size=2000), "telling": rng.normal(size=2000)})
    target = (features["telling"] + rng.normal(size=2000) > 0.8).to_numpy().astype(np.int64)
    fitted = LogisticRegression().fit(features, target)
    return fitted, features, target, fitted.predict_proba(features)[:, 1]


@pytest.fixture(scope="module")
def drawn(evaluated: Evaluated) -> dict[str, pd.DataFrame]:
    return plots.tables(*evaluated, 0.3, 1)


def test_there_is_a_table_for_each_plot(drawn: dict[str, pd.DataFrame]) -> None:
    assert drawn.keys() == NAMES
    for name, table in drawn.items():
        assert not table.empty, name
        assert not table.isna().any(axis=None), name


def test_the_roc_curve_goes_from_corner_to_corner(drawn: dict[str, pd.DataFrame]) -> None:
    roc = drawn["roc"]
    assert roc.iloc[0].tolist() == [0, 0]
    assert roc.iloc[-1].tolist() == [1, 1]
    assert roc["false_positive_rate"].is_monotonic_increasing
    assert roc["true_positive_rate"].is_monotonic_increasing


def test_recall_grows_along_its_curve(drawn: dict[str, pd.DataFrame]) -> None:
    curve = drawn["precision_recall"]
    assert curve["recall"].is_monotonic_increasing
    assert (curve["recall"].iloc[0], curve["recall"].iloc[-1]) == (0, 1)


def test_the_curve_ends_at_the_share_of_positives(
    evaluated: Evaluated, drawn: dict[str, pd.DataFrame]
) -> None:
    _, _, target, _ = evaluated
    assert drawn["precision_recall"]["precision"].iloc[-1] == pytest.approx(target.mean())


def test_the_confusion_is_that_of_the_chosen_threshold(
    evaluated: Evaluated, drawn: dict[str, pd.DataFrame]
) -> None:
    _, _, target, probabilities = evaluated
    assert (drawn["confusion"]["actual"] == target).all()
    assert (drawn["confusion"]["predicted"] == (probabilities >= 0.3)).all()


def test_f1_over_thresholds_is_that_of_each_threshold(
    evaluated: Evaluated, drawn: dict[str, pd.DataFrame]
) -> None:
    _, _, target, probabilities = evaluated
    row = drawn["threshold"].iloc[len(drawn["threshold"]) // 2]
    prediction = probabilities >= row["threshold"]
    f1 = 2 * (target[prediction]).sum() / (target.sum() + prediction.sum())
    assert row["f1"] == pytest.approx(f1)


def test_a_calibrated_model_is_drawn_near_the_diagonal(drawn: dict[str, pd.DataFrame]) -> None:
    calibration = drawn["calibration"]
    assert len(calibration) == 10
    assert (calibration["predicted"] - calibration["observed"]).abs().max() < 0.1


def test_the_feature_that_tells_is_the_important_one(drawn: dict[str, pd.DataFrame]) -> None:
    importance = drawn["importance"].set_index("feature")
    assert importance.index.tolist() == ["telling", "noise"]
    telling, noise = importance["roc_auc_drop"].tolist()
    assert telling > 0.2
    assert abs(noise) < 0.02


def test_a_curve_of_many_points_is_thinned_and_keeps_its_ends(evaluated: Evaluated) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 20_000)
    probabilities = rng.random(20_000)
    fitted, features, _, _ = evaluated
    many = pd.concat([features] * 10, ignore_index=True)
    drawn = plots.tables(fitted, many, target, probabilities, 0.5, 1)
    for name in ("roc", "precision_recall", "threshold"):
        assert len(drawn[name]) <= 500
    assert drawn["roc"].iloc[0].tolist() == [0, 0]
    assert drawn["roc"].iloc[-1].tolist() == [1, 1]
    assert drawn["threshold"]["threshold"].iloc[-1] == probabilities.max()


def test_the_tables_are_the_same_each_time(
    evaluated: Evaluated, drawn: dict[str, pd.DataFrame]
) -> None:
    again = plots.tables(*evaluated, 0.3, 1)
    for name, table in drawn.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)


def test_a_model_with_one_answer_for_all_can_be_drawn(evaluated: Evaluated, tmp_path: Path) -> None:
    fitted, features, target, _ = evaluated
    drawn = plots.tables(fitted, features, target, np.full(len(target), 0.25), 0.5, 1)
    assert len(plots.write(drawn, 0.5, tmp_path)) == 6


def test_each_plot_is_written_as_a_table_and_an_image(
    drawn: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    images = plots.write(drawn, 0.3, tmp_path)
    assert {image.stem for image in images} == NAMES
    for name, table in drawn.items():
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        read = pd.read_csv(tmp_path / f"{name}.csv")
        assert list(read.columns) == list(table.columns)
        assert len(read) == len(table)


def test_the_images_are_the_same_each_time(drawn: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    only = {"roc": drawn["roc"]}
    (one,) = plots.write(only, 0.3, tmp_path / "a")
    (two,) = plots.write(only, 0.3, tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()
