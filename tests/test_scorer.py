import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from churn import model, scorer
from churn.column import Column, Value
from churn.schema import ModelSchema, Schema
from churn.scorer import NotServable
from churn.settings import (
    Data,
    HistGradientBoosting,
    LogisticRegression,
    RandomForest,
    Split,
    Train,
)

SCHEMA = Schema(
    columns={
        "tenure": Column(type="integer"),
        "minutes": Column(type="number", nullable=True),
        "region": Column(type="category"),
    }
)
TRAIN = Train(
    version="v1",
    seed=1,
    model="logistic_regression",
    logistic_regression=LogisticRegression(C=1.0, max_iter=1000),
    hist_gradient_boosting=HistGradientBoosting(
        learning_rate=0.1, max_iter=1, max_leaf_nodes=2, min_samples_leaf=1, l2_regularization=0
    ),
    random_forest=RandomForest(n_estimators=1, min_samples_leaf=1),
)
ROWS: list[dict[str, Value]] = [
    {
        "tenure": float(number % 12),
        "minutes": None if number % 5 == 0 else float(number),
        "region": "NA" if number % 3 == 0 else "EU",
    }
    for number in range(60)
]


@pytest.fixture(scope="module")
def version() -> tuple[Any, ModelSchema]:
    """A fitted classifier and its schema."""
    features = model.frame(ROWS, SCHEMA)
    target = (features["tenure"] < 5).astype("int64")
    pipeline = model.classifier(model.build(TRAIN, "logistic_regression", SCHEMA), 0.5)
    fitted = model.fit(pipeline, features, target)
    data = Data(source="sample", target="churn", positive="1")
    return fitted, model.describe(fitted, features, SCHEMA, data, Split(test_size=0.2))


def written(schema: ModelSchema) -> bytes:
    """The schema as training logs it."""
    return schema.model_dump_json(indent=2, exclude_defaults=True).encode()


def refusal(model_file: bytes, schema_file: bytes) -> str:
    with pytest.raises(NotServable) as caught:
        scorer.load(model_file, schema_file)
    return str(caught.value)


def test_a_loaded_version_answers_as_the_fitted_model(version: tuple[Any, ModelSchema]) -> None:
    fitted, schema = version
    loaded = scorer.load(skops.io.dumps(fitted), written(schema))
    wanted = model.probability(fitted, model.frame(ROWS, SCHEMA))
    assert loaded.score(ROWS) == wanted.tolist()
    assert loaded.schema == schema


def test_one_row_and_many_rows_get_the_same_answers(version: tuple[Any, ModelSchema]) -> None:
    fitted, schema = version
    loaded = scorer.load(skops.io.dumps(fitted), written(schema))
    one_by_one = [loaded.score([row])[0] for row in ROWS]
    assert one_by_one == pytest.approx(loaded.score(ROWS), abs=scorer.TOLERANCE / 1000)


def test_the_order_of_the_fields_does_not_matter(version: tuple[Any, ModelSchema]) -> None:
    fitted, schema = version
    loaded = scorer.load(skops.io.dumps(fitted), written(schema))
    backwards = [dict(reversed(row.items())) for row in ROWS]
    assert loaded.score(backwards) == loaded.score(ROWS)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 garbage", b"\x00" * 1000])
def test_a_broken_model_file_is_refused(content: bytes, version: tuple[Any, ModelSchema]) -> None:
    assert refusal(content, written(version[1])).startswith("its model cannot be loaded: ")


def test_a_model_file_that_is_cut_off_is_refused(version: tuple[Any, ModelSchema]) -> None:
    fitted, schema = version
    content = skops.io.dumps(fitted)
    assert "its model cannot be loaded" in refusal(content[: len(content) // 2], written(schema))


def test_an_archive_that_holds_no_model_is_refused(version: tuple[Any, ModelSchema]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", "{}")
    assert "its model cannot be loaded" in refusal(buffer.getvalue(), written(version[1]))


class Touches:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path, version: tuple[Any, ModelSchema]) -> None:
    content = pickle.dumps(Touches(tmp_path / "ran"))
    assert "its model cannot be loaded" in refusal(content, written(version[1]))
    assert not (tmp_path / "ran").exists()
    pickle.loads(content)  # noqa: S301
    assert (tmp_path / "ran").exists(), "the pickle would have run"


class Foreign(BaseEstimator):  # type: ignore[misc]
    """An estimator that is none of scikit-learn's."""


@pytest.mark.parametrize("foreign", [Foreign(), FunctionTransformer(Path.touch)])
def test_a_model_of_a_foreign_type_is_refused(
    foreign: Any, version: tuple[Any, ModelSchema]
) -> None:
    said = refusal(skops.io.dumps(foreign), written(version[1]))
    assert said.startswith("its model holds types that are not allowed: ")
    assert "Foreign" in said or "touch" in said


def test_a_model_that_cannot_answer_is_refused(version: tuple[Any, ModelSchema]) -> None:
    scaler = StandardScaler().fit(np.array([[1.0], [2.0]]))
    said = refusal(skops.io.dumps(scaler), written(version[1]))
    assert said.startswith("its model cannot score its own example: ")


@pytest.mark.parametrize("difference", [2e-6, -2e-6, 0.5])
def test_a_version_that_answers_its_example_otherwise_is_refused(
    difference: float, version: tuple[Any, ModelSchema]
) -> None:
    fitted, schema = version
    example = schema.example
    recorded = example.probability + difference
    other = schema.model_copy(
        update={"example": example.model_copy(update={"probability": recorded})}
    )
    said = refusal(skops.io.dumps(fitted), written(other))
    assert said == (
        f"it answers its own example with {example.probability:.7f}, in training {recorded:.7f}"
    )


def test_a_rounding_error_in_the_example_is_let_pass(version: tuple[Any, ModelSchema]) -> None:
    fitted, schema = version
    example = schema.example
    near = example.model_copy(update={"probability": example.probability + 5e-7})
    scorer.load(skops.io.dumps(fitted), written(schema.model_copy(update={"example": near})))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"columns": {"a": {"type": "number"}}}']
)
def test_a_schema_that_cannot_be_read_is_refused(
    content: bytes, version: tuple[Any, ModelSchema]
) -> None:
    said = refusal(skops.io.dumps(version[0]), content)
    assert said.startswith("its schema cannot be read: ")


def test_a_model_of_other_columns_than_its_schema_is_refused(
    version: tuple[Any, ModelSchema],
) -> None:
    fitted, schema = version
    columns = {name: column for name, column in schema.columns.items() if name != "region"}
    other = schema.model_copy(update={"columns": columns})
    said = refusal(skops.io.dumps(fitted), written(other))
    assert said.startswith("its model cannot score its own example: ")
    assert "region" in said


def test_a_refusal_is_one_short_line(version: tuple[Any, ModelSchema]) -> None:
    for content in (b"garbage", skops.io.dumps(Foreign())):
        said = refusal(content, written(version[1]))
        assert "\n" not in said
        assert len(said) < 500
