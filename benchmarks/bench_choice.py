"""What `train.model: auto` is worth on the project's current table, beside a plain logistic
regression and gradient boosting with scikit-learn's defaults.

    python src/adopt_data.py FILE --target C --positive V     (or the built-in sample)
    dvc repro prepare
    python benchmarks/bench_choice.py [--seed 42]

An outer 5-fold over all rows of data/processed.csv, train and test split together: in each fold the
choice of estimator, calibration and threshold is made anew inside the four other parts. Shown are
the means over the folds, and what was chosen in each.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from churn import choice, metrics, model, settings, table
from churn.resampling import Labels, Probabilities
from churn.schema import Schema, read_schema
from churn.settings import Train

SHOWN = ("roc_auc", "f1", "log_loss", "brier")

Answer = tuple[str, Probabilities, float]
"""Which model answered, its probabilities, and the threshold that it chose."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=42, help="of the outer folds")
    seed = parser.parse_args().seed
    params = settings.read_params()
    schema = read_schema()
    rows = table.read_processed(schema, params.data.target)
    train = params.train.model_copy(update={"model": "auto"})
    measured = measure(train, schema, rows[schema.features], rows[params.data.target], seed)
    print(f"{len(rows):,} rows, {rows[params.data.target].mean():.1%} positive")
    print(f"{'':22}" + "".join(f"{name:>10}" for name in SHOWN) + "  chosen")
    for name, (scores, chosen) in measured.items():
        numbers = "".join(f"{scores[each]:10.4f}" for each in SHOWN)
        print(f"{name:22}{numbers}  {', '.join(chosen)}")


def measure(
    train: Train, schema: Schema, features: pd.DataFrame, target: pd.Series, seed: int
) -> dict[str, tuple[dict[str, float], list[str]]]:
    """For each contender its mean scores over the outer folds, and what it chose in each."""
    contenders: dict[str, Callable[..., Answer]] = {
        "auto": _auto,
        "logistic regression": _logistic_regression,
        "gradient boosting": _gradient_boosting,
    }
    results: dict[str, list[tuple[str, dict[str, float]]]] = {name: [] for name in contenders}
    for fit_rows, rows in model.folds(target, seed).split(features, target):
        known = features.iloc[fit_rows], target.iloc[fit_rows]
        labels = target.iloc[rows].to_numpy()
        for name, contender in contenders.items():
            chosen, probabilities, threshold = contender(train, schema, *known, features.iloc[rows])
            scores = metrics.score(labels, probabilities, threshold)
            results[name].append((chosen, scores))
    return {
        name: (
            {each: float(np.mean([scores[each] for _, scores in folds])) for each in SHOWN},
            [chosen for chosen, _ in folds if chosen],
        )
        for name, folds in results.items()
    }


def _auto(
    train: Train, schema: Schema, features: pd.DataFrame, target: pd.Series, asked: pd.DataFrame
) -> Answer:
    candidates = choice.compare(train, schema, features, target)
    chosen = choice.choose(candidates, target.to_numpy(), train.choose_by).chosen
    fitted = model.fit(chosen.classifier(train, schema, target), features, target)
    named = chosen.estimator
    if chosen.calibration != "none":
        named += f" ({chosen.calibration})"
    return named, model.probability(fitted, asked), chosen.threshold


def _logistic_regression(
    train: Train, schema: Schema, features: pd.DataFrame, target: pd.Series, asked: pd.DataFrame
) -> Answer:
    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    last = LogisticRegression(max_iter=2000)
    return _plain(_encoded(schema, numeric, last), train.seed, features, target, asked)


def _gradient_boosting(
    train: Train, schema: Schema, features: pd.DataFrame, target: pd.Series, asked: pd.DataFrame
) -> Answer:
    last = HistGradientBoostingClassifier(random_state=train.seed)
    return _plain(_encoded(schema, "passthrough", last), train.seed, features, target, asked)


def _encoded(schema: Schema, numeric: Any, last: Any) -> Any:
    each = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = [("numeric", numeric, schema.numeric), ("categorical", each, schema.categorical)]
    return make_pipeline(ColumnTransformer(columns), last)


def _plain(
    pipeline: Any, seed: int, features: pd.DataFrame, target: pd.Series, asked: pd.DataFrame
) -> Answer:
    folds = model.folds(target, seed)
    unseen = cross_val_predict(pipeline, features, target, cv=folds, method="predict_proba")[:, 1]
    labels: Labels = target.to_numpy()
    fitted = model.fit(pipeline, features, target)
    return "", model.probability(fitted, asked), model.best_f1_threshold(labels, unseen)


if __name__ == "__main__":
    main()
