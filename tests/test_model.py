import os
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import skops.io
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from sklearn.preprocessing import FunctionTransformer
from skops.io.exceptions import UntrustedTypesFoundException

from churn import compiler, model, scorer
from churn.column import Column, Value
from churn.model import TrainingError
from churn.schema import Schema
from churn.settings import (
    Data,
    HistGradientBoosting,
    LogisticRegression,
    RandomForest,
    Split,
    Train,
)

Estimator = Literal["logistic_regression", "hist_gradient_boosting", "random_forest"]
ESTIMATORS: tuple[Estimator, ...] = (
    "logistic_regression",
    "hist_gradient_boosting",
    "random_forest",
)
DATA = Data(source="sample", target="churn", positive="1")
SPLIT = Split(test_size=0.2)

SCHEMA = Schema(
    columns={
        "tenure": Column(type="integer"),
        "minutes": Column(type="number", nullable=True),
        "region": Column(type="category", nullable=True),
    }
)


def settings(estimator: Estimator, max_iter: int = 1000, seed: int = 42) -> Train:
    return Train(
        version="v1",
        seed=seed,
        model=estimator,
        logistic_regression=LogisticRegression(C=1.0, max_iter=max_iter),
        hist_gradient_boosting=HistGradientBoosting(
            learning_rate=0.1,
            max_iter=10,
            max_leaf_nodes=7,
            min_samples_leaf=5,
            l2_regularization=0.0,
        ),
        random_forest=RandomForest(n_estimators=10, min_samples_leaf=3),
    )


def built(estimator: Estimator, schema: Schema = SCHEMA, **changes: int) -> Any:
    """The unfitted pipeline."""
    return model.build(settings(estimator, **changes), estimator, schema)


def customers(count: int = 300, missing: bool = True) -> tuple[pd.DataFrame, pd.Series]:
    """Features and target: short tenure and region NA leave; some minutes and regions are blank."""
    rng = np.random.default_rng(0)
    tenure = rng.integers(0, 60, count)
    region = rng.choice(["EU", "NA", "APAC"], count)
    chance = 1 / (1 + np.exp(0.1 * (tenure - 20) - 1.5 * (region == "NA")))
    rows: list[dict[str, Value]] = [
        {
            "tenure": float(tenure[number]),
            "minutes": None if missing and number % 7 == 0 else float(number % 50),
            "region": None if missing and number % 11 == 0 else str(region[number]),
        }
        for number in range(count)
    ]
    churn = pd.Series((rng.random(count) < chance).astype("int64"), name="churn")
    return model.frame(rows, SCHEMA), churn


@cache
def trained(estimator: Estimator, missing: bool = True, threshold: float = 0.4) -> Any:
    features, target = customers(missing=missing)
    pipeline = built(estimator)
    return model.fit(model.classifier(pipeline, threshold), features, target)


def answer(fitted: Any, **row: Value) -> float:
    return float(model.probability(fitted, model.frame([row], SCHEMA))[0])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_estimator_learns_who_leaves(estimator: Estimator) -> None:
    fitted = trained(estimator)
    leaver = answer(fitted, tenure=2.0, minutes=20.0, region="NA")
    stayer = answer(fitted, tenure=55.0, minutes=20.0, region="EU")
    assert 0 <= stayer < 0.3 < 0.6 < leaver <= 1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_named_parameters_reach_the_estimator(estimator: Estimator) -> None:
    train = settings(estimator, max_iter=77, seed=5)
    given = model.build(train, estimator, SCHEMA).named_steps["estimator"].get_params()
    assert given["random_state"] == 5
    assert train.hyperparameters(train.model).items() <= given.items()


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_missing_value_is_answered_whether_training_saw_one_or_not(
    estimator: Estimator, missing: bool
) -> None:
    fitted = trained(estimator, missing=missing)
    assert 0 < answer(fitted, tenure=10.0, minutes=None, region=None) < 1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_unknown_category_is_answered(estimator: Estimator) -> None:
    assert 0 < answer(trained(estimator), tenure=10.0, minutes=20.0, region="Mars") < 1


@pytest.mark.parametrize("estimator", ["logistic_regression", "random_forest"])
def test_a_missing_number_counts_as_the_median_where_training_missed_none(
    estimator: Estimator,
) -> None:
    features, _ = customers(missing=False)
    fitted = trained(estimator, missing=False)
    median = float(features["minutes"].median())
    assert answer(fitted, tenure=10.0, minutes=None, region="NA") == answer(
        fitted, tenure=10.0, minutes=median, region="NA"
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_that_a_number_is_missing_is_learnt_from(estimator: Estimator) -> None:
    features, target = customers(1000)
    target[features["minutes"].isna()] = 1
    fitted = model.fit(built(estimator), features, target)
    median = float(features["minutes"].median())
    missing = answer(fitted, tenure=40.0, minutes=None, region="EU")
    assert missing > answer(fitted, tenure=40.0, minutes=median, region="EU") + 0.2


def test_a_missing_category_is_a_category_of_its_own() -> None:
    features, target = customers()
    target[features["region"].isna()] = 1
    fitted = model.fit(
        built("logistic_regression"),
        features,
        target,
    )
    missing = answer(fitted, tenure=30.0, minutes=20.0, region=None)
    unknown = answer(fitted, tenure=30.0, minutes=20.0, region="Mars")
    assert missing > unknown + 0.1


def without_minutes_and_regions(features: pd.DataFrame) -> pd.DataFrame:
    return features.assign(minutes=np.nan, region=pd.Series([None] * len(features), dtype="str"))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_nullable_column_may_be_missing_throughout(estimator: Estimator) -> None:
    features, target = customers()
    features = without_minutes_and_regions(features)
    fitted = model.fit(built(estimator), features, target)
    assert 0 < answer(fitted, tenure=10.0, minutes=5.0, region="EU") < 1
    described = model.describe(trained(estimator), features, SCHEMA, DATA, SPLIT)
    assert (described.example.row["minutes"], described.example.row["region"]) == (None, None)


def test_gradient_boosting_with_no_number_to_learn_from_says_so() -> None:
    features, target = customers()
    pipeline = built("hist_gradient_boosting")
    features = without_minutes_and_regions(features).assign(tenure=1.0)
    with pytest.raises(TrainingError, match=r"two values to learn from; name them in data\.drop"):
        model.fit(pipeline, features, target)


def with_cities(count: int = 600) -> tuple[pd.DataFrame, pd.Series]:
    """Customers whose region is one of 60 cities; in every second one most leave."""
    features, _ = customers(count)
    rng = np.random.default_rng(1)
    city = rng.integers(0, 60, count)
    features["region"] = pd.Series([f"city {number}" for number in city], dtype="str")
    chance = np.where(city % 2, 0.9, 0.1)
    return features, pd.Series((rng.random(count) < chance).astype("int64"))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_many_categories_of_few_rows_are_learnt_from(estimator: Estimator) -> None:
    features, target = with_cities()
    fitted = model.fit(built(estimator), features, target)
    odd = answer(fitted, tenure=30.0, minutes=20.0, region="city 7")
    even = answer(fitted, tenure=30.0, minutes=20.0, region="city 8")
    unknown = answer(fitted, tenure=30.0, minutes=20.0, region="Mars")
    assert even <= unknown <= odd
    assert even < odd
    assert even + 0.2 < odd


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_rare_category_does_not_decide_by_its_one_row(estimator: Estimator) -> None:
    features, target = customers()
    features.loc[0, "region"] = "Atlantis"
    target[0] = 1
    fitted = model.fit(built(estimator), features, target)
    rare = answer(fitted, tenure=55.0, minutes=20.0, region="Atlantis")
    assert rare == pytest.approx(answer(fitted, tenure=55.0, minutes=20.0, region="Mars"), abs=0.15)


@pytest.mark.parametrize("only", ["tenure", "region"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_table_may_have_numbers_only_or_categories_only(estimator: Estimator, only: str) -> None:
    features, target = customers()
    schema = Schema(columns={only: SCHEMA.columns[only]})
    fitted = model.fit(built(estimator, schema), features[[only]], target)
    assert model.probability(fitted, features[[only]]).shape == (300,)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_two_trainings_answer_with_the_same_bits(estimator: Estimator) -> None:
    features, target = customers()
    again = model.fit(built(estimator), features, target)
    first = model.probability(trained(estimator), features)
    assert (model.probability(again, features) == first).all()


@cache
def calibrated(estimator: Estimator, calibration: str) -> Any:
    features, target = customers()
    pipeline = built(estimator)
    folds = model.folds(target, seed=0)
    return model.fit(model.classifier(pipeline, 0.4, calibration, folds), features, target)


@pytest.mark.parametrize("calibration", ["none", "sigmoid", "isotonic"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_compiled_model_answers_as_the_fitted_one(estimator: Estimator, calibration: str) -> None:
    features, _ = customers()
    fitted = calibrated(estimator, calibration)
    described = model.describe(fitted, features, SCHEMA, DATA, SPLIT)
    compiled = compiler.compiled(fitted, described, features)
    assert compiled.difference < 1e-9
    loaded = scorer.load(compiled.scorer_file, compiled.schema_file, compiled.tags)
    rows: list[dict[str, Value]] = [
        {"tenure": 3.0, "minutes": None, "region": "NA"},
        {"tenure": 30.0, "minutes": 4.5, "region": "Mars"},
        {"tenure": 59.0, "minutes": 49.0, "region": None},
    ]
    wanted = model.probability(fitted, model.frame(rows, SCHEMA))
    assert loaded.score(rows) == pytest.approx(wanted, abs=1e-9)
    assert len(set(loaded.score(rows))) > 1


def test_the_difference_of_a_compiled_model_is_measured() -> None:
    features, _ = customers()
    fitted = calibrated("logistic_regression", "none")
    described = model.describe(fitted, features, SCHEMA, DATA, SPLIT)
    other = calibrated("logistic_regression", "sigmoid")
    compiled = compiler.compiled(other, described, features)
    assert compiled.rows > len(features)
    assert compiler.compiled(fitted, described, features).difference < 1e-9


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_calibrations_answer_differently_and_in_the_same_order(estimator: Estimator) -> None:
    features, _ = customers()
    plain = model.probability(calibrated(estimator, "none"), features)
    for calibration in ("sigmoid", "isotonic"):
        other = model.probability(calibrated(estimator, calibration), features)
        assert np.abs(other - plain).max() > 0.001
        assert (np.diff(other[np.argsort(plain, kind="stable")]) >= -1e-12).all()


def test_the_trusted_types_hold_nothing_that_runs_other_code() -> None:
    # Data: a dtype, two kinds of trees, folds by their numbers, calibrations by theirs. A longer
    # list needs a reason.
    assert set(model.TRUSTED_TYPES) == {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.tree._tree.Tree",
    }


@pytest.mark.parametrize("function", [os.system, eval, Path.touch, print, subprocess.run])
def test_a_partial_of_another_function_is_refused(function: Callable[..., Any]) -> None:
    content = skops.io.dumps(FunctionTransformer(partial(function, "x")))
    with pytest.raises(UntrustedTypesFoundException):
        skops.io.loads(content, trusted=list(model.TRUSTED_TYPES))


def test_the_threshold_decides_the_prediction() -> None:
    features, _ = customers()
    fitted = trained("logistic_regression", threshold=0.25)
    assert (fitted.predict(features) == (model.probability(fitted, features) >= 0.25)).all()


# The threshold


def test_two_rows_of_a_class_are_enough_and_one_is_not() -> None:
    target = pd.Series([1, 1] + [0] * 38)
    assert model.folds(target, seed=0).get_n_splits() == 2
    with pytest.raises(TrainingError, match="has 1 row of one class"):
        model.folds(target[1:], seed=0)
    with pytest.raises(TrainingError, match="one class only"):
        model.folds(target[2:], seed=0)


def slow_best_f1(target: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    return max(
        float(f1_score(target, probabilities >= threshold, zero_division=0))
        for threshold in set(probabilities)
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_has_the_highest_f1_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(1, 3, 200)
    target = (rng.random(200) < probabilities).astype(np.int64)
    threshold = model.best_f1_threshold(target, probabilities)
    reached = f1_score(target, probabilities >= threshold)
    assert reached == pytest.approx(slow_best_f1(target, probabilities), abs=0.01)
    assert threshold == round(threshold, 3)


@pytest.mark.parametrize("common", [2 / 3, 0.0004, 0.9996])
def test_rounding_the_threshold_loses_no_group_of_equal_probabilities(common: float) -> None:
    # Trees and categories give many rows one probability; the threshold often is that probability.
    target = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array([0, 0, 0, common, common, common])
    threshold = model.best_f1_threshold(target, probabilities)
    assert (probabilities >= threshold).tolist() == [False] * 3 + [True] * 3


def test_a_training_that_does_not_converge_says_what_to_raise() -> None:
    features, target = customers()
    pipeline = model.build(
        settings("logistic_regression", max_iter=1), "logistic_regression", SCHEMA
    )
    with pytest.raises(TrainingError, match=r"Raise train\.<model>\.max_iter in params\.yaml"):
        model.fit(pipeline, features, target)


# What travels with the model


def test_the_description_holds_what_training_saw() -> None:
    features, _ = customers()
    described = model.describe(trained("logistic_regression"), features, SCHEMA, DATA, SPLIT)
    tenure, minutes, region = (described.columns[name].seen for name in SCHEMA.features)
    assert tenure is not None
    assert (tenure.min, tenure.max) == (features["tenure"].min(), features["tenure"].max())
    assert minutes is not None
    assert (minutes.min, minutes.max) == (0, 49)
    assert region is not None
    assert region.values == ("APAC", "EU", "NA")
    assert (described.target, described.positive, described.threshold) == ("churn", "1", 0.4)


def test_the_example_is_a_clean_row_with_the_answer_of_the_model() -> None:
    features, _ = customers()
    fitted = trained("random_forest")
    described = model.describe(fitted, features, SCHEMA, DATA, SPLIT)
    row = described.example.row
    assert {name: SCHEMA.columns[name].clean(value) for name, value in row.items()} == row
    assert described.example.probability == answer(fitted, **row)
    assert described.unfamiliar(row) == []


def test_the_example_of_whole_numbers_is_whole() -> None:
    features = model.frame(
        [{"tenure": float(n), "minutes": n + 0.5, "region": "EU"} for n in (1, 2, 5, 8)], SCHEMA
    )
    described = model.describe(trained("logistic_regression"), features, SCHEMA, DATA, SPLIT)
    assert described.example.row["tenure"] == 2


def test_a_frame_has_the_columns_of_the_schema_in_their_order_and_types() -> None:
    frame = model.frame(
        [
            {"region": "NA", "tenure": 1.0, "minutes": None},
            {"tenure": 2.0, "minutes": 3.5, "region": None},
        ],
        SCHEMA,
    )
    assert list(frame.columns) == SCHEMA.features
    assert [str(kind) for kind in frame.dtypes] == ["float64", "float64", "str"]
    assert frame.isna().to_numpy().tolist() == [[False, True, False], [False, False, True]]
    assert frame["region"].iloc[0] == "NA"


def test_a_frame_without_rows_is_a_frame() -> None:
    assert model.frame([], SCHEMA).shape == (0, 3)


BATCHES: list[Callable[[pd.DataFrame], pd.DataFrame]] = [
    lambda frame: frame.iloc[:1],
    lambda frame: frame.iloc[::-1],
    lambda frame: frame[frame["region"] == "NA"],
]


@pytest.mark.parametrize("part", BATCHES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_row_gets_its_answer_whatever_rows_come_with_it(
    estimator: Estimator, part: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    features, _ = customers()
    fitted = trained(estimator)
    whole = pd.Series(model.probability(fitted, features), index=features.index)
    some = part(features)
    assert model.probability(fitted, some) == pytest.approx(whole[some.index], abs=1e-12)
