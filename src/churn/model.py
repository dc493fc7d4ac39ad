"""The model: encoding, imputation and estimator in one pipeline, with its threshold."""

import warnings
from decimal import ROUND_FLOOR, Context
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve
from sklearn.model_selection import FixedThresholdClassifier, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder
from threadpoolctl import threadpool_limits

from churn.column import Column, Seen, Value
from churn.errors import UserError
from churn.schema import Example, ModelSchema, Schema, SplitRule
from churn.settings import Data, Split, Train

FOLDS = 5
_STAGES = 50

# What skops may load besides scikit-learn's own public estimators. This list decides, never the
# one that a model brings along: a model that needs any other type is not loaded.
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.tree._tree.Tree",
)


class TrainingError(UserError):
    """Data on which no model can be trained."""


def build(train: Train, estimator: str, schema: Schema) -> Pipeline:
    """The unfitted pipeline of one of settings.ESTIMATORS, with its parameters in `train`.

    Logistic regression and the forest get the training median for a missing number, and a column
    that says where one was missing; gradient boosting takes missing numbers as they are. A missing
    category is a category of its own, rare categories count as one, and a category that was not
    seen in training is answered as one of the rare ones or as none of the known.
    """
    parameters = train.hyperparameters(estimator)
    last: ClassifierMixin
    match estimator:
        case "logistic_regression":
            columns = [
                ("numeric", make_pipeline(_imputer(), StandardScaler()), schema.numeric),
                # The penalty deals with categories of a few rows.
                ("categorical", _one_hot(3, max_categories=1000, sparse=True), schema.categorical),
            ]
            last = LogisticRegression(random_state=train.seed, **parameters)
        case "hist_gradient_boosting":
            # The estimator of scikit-learn 1.9 trips over a number that is always missing.
            columns = [("numeric", VarianceThreshold(), schema.numeric), *_for_trees(train, schema)]
            last = HistGradientBoostingClassifier(
                early_stopping=False, random_state=train.seed, **parameters
            )
        case "random_forest":
            columns = [("numeric", _imputer(), schema.numeric), *_for_trees(train, schema)]
            last = RandomForestClassifier(random_state=train.seed, **parameters)
    return Pipeline([("columns", ColumnTransformer(columns)), ("estimator", last)])


def _imputer() -> SimpleImputer:
    return SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)


def _one_hot(min_frequency: int, max_categories: int, sparse: bool = False) -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        min_frequency=min_frequency,
        max_categories=max_categories,
        sparse_output=sparse,
    )


def _for_trees(train: Train, schema: Schema) -> list[tuple[str, Any, list[str]]]:
    """The frequent categories one by one, and how often each category's rows are positive.

    A tree that splits off one category of hundreds at a time learns little; with the rate it splits
    between those of low and of high rate. A rate is drawn to the mean where the rows are few, and
    the one that a row is trained on comes from others.
    """
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=train.seed)
    rate = TargetEncoder(target_type="binary", cv=folds)
    return [
        ("categorical", _one_hot(10, max_categories=100), schema.categorical),
        ("rate", rate, schema.categorical),
    ]


def stages(iterations: int) -> list[int]:
    """After how many of its iterations gradient boosting is looked at: evenly, _STAGES times at
    most, since each look keeps a value of every row."""
    step = -(-iterations // _STAGES)
    return sorted({*range(step, iterations + 1, step), iterations})


def decision_values(fitted: Pipeline, features: pd.DataFrame) -> NDArray[np.float64]:
    """What calibration starts from, shape (looks, rows): log-odds, and of a forest probabilities.

    Gradient boosting is looked at in its stages(), the others once.
    """
    last = fitted[-1]
    clean = fitted[:-1].transform(features)
    if hasattr(last, "staged_decision_function"):
        looks = set(stages(last.n_iter_))
        passing = enumerate(last.staged_decision_function(clean), start=1)
        return np.array([values.ravel() for number, values in passing if number in looks])
    if hasattr(last, "decision_function"):
        return last.decision_function(clean)[np.newaxis]
    return last.predict_proba(clean)[np.newaxis, :, 1]


def folds(target: pd.Series, seed: int) -> StratifiedKFold:
    """The cross-validation of this target: it keeps the class balance and is shuffled by `seed`.

    Raises TrainingError where a class has too few rows for two folds.
    """
    counts = target.value_counts()
    if len(counts) < 2:
        raise TrainingError("the train split has rows of one class only; a model needs both")
    smallest = int(counts.min())
    if smallest < 2:
        raise TrainingError(
            f"the train split has {smallest} row of one class; cross-validation needs at least 2"
        )
    return StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)


def best_f1_threshold(target: NDArray[Any], probabilities: NDArray[np.float64]) -> float:
    """The threshold with the highest F1 on these rows, rounded down to three digits.

    A row is positive where its probability is at or above the threshold.
    """
    precision, recall, thresholds = precision_recall_curve(target, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    # Down, so that the rows whose probability it is stay positive.
    three_digits = Context(prec=3, rounding=ROUND_FLOOR)
    return float(three_digits.create_decimal_from_float(float(thresholds[f1[:-1].argmax()])))


def classifier(
    pipeline: Pipeline,
    threshold: float,
    calibration: str = "none",
    cv: StratifiedKFold | None = None,
) -> FixedThresholdClassifier:
    """The pipeline as a classifier whose predict() applies `threshold`; still to be fitted.

    With `calibration` sigmoid or isotonic the probabilities pass through one function, which is
    fitted to the out-of-fold probabilities of the cross-validation `cv`.
    """
    inner: Any = pipeline
    if calibration != "none":
        inner = CalibratedClassifierCV(pipeline, method=calibration, cv=cv, ensemble=False)
    return FixedThresholdClassifier(
        inner, threshold=threshold, pos_label=1, response_method="predict_proba"
    )


def fit(classifier: Any, features: pd.DataFrame, target: pd.Series) -> Any:
    """Fit and return `classifier`; one that does not converge is a TrainingError.

    Not for several threads at once, because Python's filters of warnings are global.
    """
    # A forest grows its trees in threads; each has a seed of its own, so the result is the same.
    # BLAS adds in another order with each number of threads. Gradient boosting gains nothing from
    # threads on a small table, where they wait for one another without end if the cores are busy.
    limits = {"blas": 1} | ({"openmp": 1} if len(features) < 20_000 else {})
    with (
        threadpool_limits(limits),
        warnings.catch_warnings(),
        joblib.parallel_config(backend="threading", n_jobs=-1),
    ):
        warnings.simplefilter("error", ConvergenceWarning)
        # VarianceThreshold says so of a number that is always missing.
        warnings.filterwarnings("ignore", "Degrees of freedom|All-NaN", RuntimeWarning)
        # TargetEncoder says so where a class has fewer rows than its five folds.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        try:
            return classifier.fit(features, target)
        except ConvergenceWarning as warning:
            reason = str(warning).partition("\n")[0]
            raise TrainingError(f"{reason} Raise train.<model>.max_iter in params.yaml.") from None
        except ValueError as error:
            if "meets the variance threshold" not in str(error):
                raise
            raise TrainingError(
                "no number among the features has two values to learn from; name them in data.drop"
            ) from None


def probability(model: Any, features: pd.DataFrame) -> NDArray[np.float64]:
    """The probability of the positive class for each row, shape (rows,), range 0 to 1."""
    positive: NDArray[np.float64] = model.predict_proba(features)[:, 1]
    return positive


def describe(
    model: FixedThresholdClassifier,
    features: pd.DataFrame,
    schema: Schema,
    data: Data,
    split: Split,
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
        split=SplitRule(id=data.id, test_size=split.test_size, salt=split.salt),
    )


def frame(rows: list[dict[str, Value]] | dict[str, list[Value]], schema: Schema) -> pd.DataFrame:
    """Clean rows, or columns, as the table that the pipeline takes: float64 and text, missing as
    NaN."""
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
