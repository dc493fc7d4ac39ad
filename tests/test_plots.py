from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier

from churn import metrics, plots, segments
from churn.column import Column
from churn.plots import Marks
from churn.resampling import Costs
from churn.schema import Schema
from churn.segments import Segment
from churn.settings import Evaluate, read_params

Evaluated = tuple[Any, pd.DataFrame, NDArray[np.int64], NDArray[np.float64]]

NAMES = {
    *("roc", "precision_recall", "calibration", "confusion", "threshold"),
    *("gain", "lift", "cost", "segments", "importance"),
}
COSTS = Costs(false_negative=4, false_positive=1)
PARAMS = read_params().model_copy(
    update={"evaluate": Evaluate(gate_f1=0, cost_false_negative=4, cost_false_positive=1)}
)
MARKS = Marks(threshold=0.3, cost_threshold=0.2, roc_auc=0.8)


@pytest.fixture(scope="module")
def evaluated() -> Evaluated:
    """A model with one feature that tells and one that does not, and its test split."""
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"noise": rng.normal(size=2000), "telling": rng.normal(size=2000)})
    target = (features["telling"] + rng.normal(size=2000) > 0.8).to_numpy().astype(np.int64)
    fitted = FixedThresholdClassifier(LogisticRegression(), threshold=0.3).fit(features, target)
    return fitted, features, target, fitted.predict_proba(features)[:, 1]


@pytest.fixture(scope="module")
def groups(evaluated: Evaluated) -> list[Segment]:
    _, features, target, probabilities = evaluated
    number = Column(type="number")
    schema = Schema(columns={"noise": number, "telling": number})
    return segments.evaluate(["noise"], schema, features, target, probabilities, 0.3, 1)


@pytest.fixture(scope="module")
def drawn(evaluated: Evaluated, groups: list[Segment]) -> dict[str, pd.DataFrame]:
    return plots.tables(PARAMS, *evaluated, groups)


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


def test_gain_grows_from_nobody_to_everybody_above_the_diagonal(
    drawn: dict[str, pd.DataFrame],
) -> None:
    gain = drawn["gain"]
    assert gain.iloc[0].tolist() == [0, 0]
    assert gain.iloc[-1].tolist() == [1, 1]
    assert (gain["gain"] >= gain["share_called"] - 1e-12).all()
    assert gain["gain"].is_monotonic_increasing


def test_the_lift_of_the_deciles_adds_up_to_ten(drawn: dict[str, pd.DataFrame]) -> None:
    assert drawn["lift"]["decile"].tolist() == list(range(1, 11))
    assert drawn["lift"]["lift"].sum() == pytest.approx(10)
    assert drawn["lift"]["lift"].iloc[0] > 2


def test_costs_go_from_calling_everybody_to_calling_nobody(
    evaluated: Evaluated, drawn: dict[str, pd.DataFrame]
) -> None:
    _, _, target, probabilities = evaluated
    costs = metrics.cost(target, probabilities, 0.3, COSTS)
    table = drawn["cost"].set_index("threshold")["cost_per_customer"]
    assert table.loc[0.0] == pytest.approx(costs["cost_per_customer_everybody"])
    assert table.loc[1.0] == pytest.approx(costs["cost_per_customer_nobody"])
    assert table.loc[0.2] == pytest.approx(costs["cost_per_customer"])


def test_a_segment_is_drawn_with_its_interval(
    drawn: dict[str, pd.DataFrame], groups: list[Segment]
) -> None:
    table = drawn["segments"]
    assert table["segment"].tolist() == [segment.name for segment in groups]
    assert (table["low"] < table["roc_auc"]).all()
    assert (table["roc_auc"] < table["high"]).all()
    assert table["rows"].sum() == 2000


def test_the_feature_that_tells_is_the_important_one(drawn: dict[str, pd.DataFrame]) -> None:
    importance = drawn["importance"].set_index("feature")
    assert importance.index.tolist() == ["telling", "noise"]
    telling, noise = importance["roc_auc_drop"].tolist()
    assert telling > 0.2
    assert abs(noise) < 0.02


def test_the_importance_is_that_of_scikit_learn(
    evaluated: Evaluated, drawn: dict[str, pd.DataFrame]
) -> None:
    fitted, features, target, _ = evaluated
    found = permutation_importance(fitted, features, target, scoring="roc_auc", n_repeats=20)
    for name, mean in zip(features.columns, found.importances_mean, strict=True):
        row = drawn["importance"].set_index("feature").loc[name]
        assert row["roc_auc_drop"] == pytest.approx(mean, abs=0.02)


def test_the_importance_is_the_same_however_many_rows_are_answered_at_once(
    evaluated: Evaluated, drawn: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "_ROWS_AT_ONCE", 1)
    one_by_one = plots.tables(PARAMS, *evaluated, [])["importance"]
    pd.testing.assert_frame_equal(one_by_one, drawn["importance"])


def test_a_curve_of_many_points_is_thinned_and_keeps_its_ends(evaluated: Evaluated) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 20_000)
    probabilities = rng.random(20_000)
    fitted, features, _, _ = evaluated
    many = pd.concat([features] * 10, ignore_index=True)
    drawn = plots.tables(PARAMS, fitted, many, target, probabilities, [])
    for name in ("roc", "precision_recall", "threshold"):
        assert len(drawn[name]) <= 500
    assert drawn["roc"].iloc[0].tolist() == [0, 0]
    assert drawn["roc"].iloc[-1].tolist() == [1, 1]
    assert drawn["threshold"]["threshold"].iloc[-1] == probabilities.max()


def test_the_tables_are_the_same_each_time(
    evaluated: Evaluated, groups: list[Segment], drawn: dict[str, pd.DataFrame]
) -> None:
    again = plots.tables(PARAMS, *evaluated, groups)
    for name, table in drawn.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)


def test_a_model_with_one_answer_for_all_can_be_drawn(evaluated: Evaluated, tmp_path: Path) -> None:
    fitted, features, target, _ = evaluated
    one = np.full(len(target), 0.25)
    drawn = plots.tables(PARAMS, fitted, features, target, one, [])
    assert {image.stem for image in plots.write(drawn, MARKS, tmp_path)} == NAMES - {"segments"}


def test_without_segments_there_is_a_table_for_dvc_and_no_image(
    drawn: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    assert plots.write({"segments": drawn["segments"].iloc[:0]}, MARKS, tmp_path) == []
    header = (tmp_path / "segments.csv").read_text()
    assert header == "segment,roc_auc,low,high,rows\n"


def test_names_of_columns_are_drawn_as_they_are(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    names = ["$x^{$", r"price $\nonsense$", "two\nlines", "顧客", "long " * 40]
    table = pd.DataFrame({"feature": names, "roc_auc_drop": 0.1, "deviation": 0.01})
    segments_table = pd.DataFrame(
        {"segment": names, "roc_auc": 0.8, "low": 0.7, "high": 0.9, "rows": 3}
    )
    images = plots.write({"importance": table, "segments": segments_table}, MARKS, tmp_path)
    assert [image.stem for image in images] == ["importance", "segments"]
    assert not recwarn.list


def test_each_plot_is_written_as_a_table_and_an_image(
    drawn: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    images = plots.write(drawn, MARKS, tmp_path)
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
    (one,) = plots.write(only, MARKS, tmp_path / "a")
    (two,) = plots.write(only, MARKS, tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()
