"""The model: encoding, imputation and estimator in one pipeline, with its threshold."""

import warnings
from collections.abc import Iterable
from decimal import ROUND_FLOOR, Context
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve
from sklearn.model_selection import FixedThresholdClassifier, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from churn import cli
from churn.column import Column, Seen, Value
from churn.errors import UserError
from churn.schema import Example, ModelSchema, Schema
from churn.settings import Data, Train

FOLDS = 5

# What skops may load besides scikit-learn's own public estimators. This list decides, never the
# one that a model brings along: a model that needs any other type is not loaded.
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)


class TrainingError(UserError):
    """Data on which no model can be trained."""


def build(train: Train, schema: Schema) -> Pipeline:
    """The unfitted pipeline that `train.model` names.

    Missing numbers become the training median and missing categories a category of their own
    (HistGradientBoosting takes missing numbers as they are); a category that was not seen in
    training counts as none of the known ones.
    """
    parameters = train.hyperparameters(train.model)
    numeric: Any = SimpleImputer(strategy="median", keep_empty_features=True)
    match train.model:
        case "logistic_regression":
            numeric = make_pipeline(numeric, StandardScaler())
            estimator: ClassifierMixin = LogisticRegression(random_state=train.seed, **parameters)
        case "hist_gradient_boosting":
            numeric = "passthrough"
            estimator = HistGradientBoostingClassifier(random_state=train.seed, **parameters)
        case "random_forest":
            estimator = RandomForestClassifier(random_state=train.seed, **parameters)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [("numeric", numeric, schema.numeric), ("categorical", encoder, schema.categorical)]
    )
    return Pipeline([("columns", columns), ("estimator", estimator)])


def out_of_fold_probabilities(
    pipeline: Pipeline, features: pd.DataFrame, target: pd.Series, seed: int
) -> NDArray[np.float64]:
    """The probability of each training row from a model that was fitted without its fold.

    Shape (rows,), range 0 to 1. The folds keep the class balance and are shuffled by `seed`.
    Raises TrainingError where a class has too few rows for two folds.
    """
    smallest = int(target.value_counts().min())
    if smallest < 2:
        raise TrainingError(
            f"the train split has {smallest} row of one class; cross-validation needs at least 2"
        )
    folds = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
    probabilities = np.empty(len(target))
    splits: Iterable[Any] = folds.split(features, target)
    for fit_rows, rows in cli.progress(splits, "cross-validation", folds.get_n_splits()):
        fitted = fit(clone(pipeline), features.iloc[fit_rows], target.iloc[fit_rows])
        probabilities[rows] = probability(fitted, features.iloc[rows])
    return probabilities


def best_f1_threshold(target: NDArray[Any], probabilities: NDArray[np.float64]) -> float:
    """The threshold with the highest F1 on these rows, rounded down to three digits.

    A row is positive where its probability is at or above the threshold.
    """
    precision, recall, thresholds = precision_recall_curve(target, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    # Down, so that the rows whose probability it is stay positive.
    three_digits = Context(prec=3, rounding=ROUND_FLOOR)
    return float(three_digits.create_decimal_from_float(float(thresholds[f1[:-1].argmax()])))


def with_threshold(pipeline: Pipeline, threshold: float) -> FixedThresholdClassifier:
    """The pipeline as a classifier whose predict() applies `threshold`; still to be fitted."""
    return FixedThresholdClassifier(
        pipeline, threshold=threshold, pos_label=1, response_method="predict_proba"
    )


def fit(classifier: Any, features: pd.DataFrame, target: pd.Series) -> Any:
    """Fit and return `classifier`; one that does not converge is a TrainingError."""
    # A forest grows its trees in threads; each has a seed of its own, so the result is the same.
    with warnings.catch_warnings(), joblib.parallel_config(backend="threading", n_jobs=-1):
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return classifier.fit(features, target)
        except ConvergenceWarning as warning:
            reason = str(warning).partition("\n")[0]
            raise TrainingError(f"{reason} Raise train.<model>.max_iter in params.yaml.") from None
        except ValueError:
            # HistGradientBoosting of scikit-learn 1.9 trips over a number that is always missing.
            empty = [str(name) for name in features if features[name].isna().all()]
            if not empty:
                raise
            raise TrainingError(
                f"no row to train on has a value of {', '.join(empty)}; name it in data.drop"
            ) from None


def probability(model: Any, features: pd.DataFrame) -> NDArray[np.float64]:
    """The probability of the positive class for each row, shape (rows,), range 0 to 1."""
    positive: NDArray[np.float64] = model.predict_proba(features)[:, 1]
    return positive


def describe(
    model: FixedThresholdClassifier, features: pd.DataFrame, schema: Schema, data: Data
) -> ModelSchema:
    """The schema that travels with the fitted model: what training saw, and how the model answers
    for a typical customer, who is nobody in the table (medians and most frequent categories)."""
    columns = {
        name: column.model_copy(update={"seen": _seen(features[name], column)})
        for name, column in schema.used.items()
    }
    row = {name: _typical(features[name], column) for name, column in schema.used.items()}
    example = Example(row=row, probability=float(probability(model, frame([row], schema))[0]))
    return ModelSchema(
        missing_values=schema.missing_values,
        columns=columns,
        target=data.target,
        positive=data.positive,
        threshold=model.threshold,
        example=example,
    )


def frame(rows: list[dict[str, Value]], schema: Schema) -> pd.DataFrame:
    """Clean rows as the table that the pipeline takes: float64 and text, missing as NaN."""
    types = {name: "float64" if c.is_numeric else "str" for name, c in schema.used.items()}
    return pd.DataFrame(rows, columns=schema.features).astype(types)


def _typical(values: pd.Series, column: Column) -> Value:
    present = values.dropna()
    if present.empty:
        return None
    if not column.is_numeric:
        return str(present.mode().iloc[0])
    # The lower of the two middle values, so that the median of whole numbers is whole.
    return float(present.quantile(0.5, interpolation="lower"))


def _seen(values: pd.Series, column: Column) -> Seen:
    present = values.dropna()
    if not column.is_numeric:
        return Seen(values=tuple(sorted(present.unique())))
    if present.empty:
        return Seen()
    return Seen(min=float(present.min()), max=float(present.max()))
