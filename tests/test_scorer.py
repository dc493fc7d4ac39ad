from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from churn import compiler, model, scorer
from churn.column import Column, Value
from churn.compiler import Compiled
from churn.registry import Tag
from churn.schema import ModelSchema, Schema
from churn.scorer import NotServable, Scorer
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
def version() -> Compiled:
    """A compiled model, as training logs it."""
    features = model.frame(ROWS, SCHEMA)
    target = (features["tenure"] < 5).astype("int64")
    pipeline = model.classifier(model.build(TRAIN, "logistic_regression", SCHEMA), 0.5)
    fitted = model.fit(pipeline, features, target)
    data = Data(source="sample", target="churn", positive="1")
    schema = model.describe(fitted, features, SCHEMA, data, Split(test_size=0.2))
    return compiler.compiled(fitted, schema, features)


def loaded(version: Compiled) -> Scorer:
    return scorer.load(version.scorer_file, version.schema_file, version.tags)


def schema_of(version: Compiled) -> ModelSchema:
    return ModelSchema.model_validate_json(version.schema_file)


def refusal(scorer_file: bytes, schema_file: bytes) -> str:
    """Why the files are refused, where training recorded these very files."""
    tags = Compiled(scorer_file, schema_file, 0.0, 1).tags
    with pytest.raises(NotServable) as caught:
        scorer.load(scorer_file, schema_file, tags)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 500
    return said


def test_one_row_and_many_rows_get_the_same_answers(version: Compiled) -> None:
    found = loaded(version)
    one_by_one = [found.score([row])[0] for row in ROWS]
    assert one_by_one == pytest.approx(found.score(ROWS), abs=scorer.TOLERANCE / 1000)
    assert found.score([]) == []


def test_many_rows_are_answered_in_their_order(version: Compiled) -> None:
    found = loaded(version)
    minutes = np.random.default_rng(0).permutation(600) / 3
    rows = [{**ROWS[n % len(ROWS)], "minutes": float(each)} for n, each in enumerate(minutes)]
    vectors = np.array([found.encoding.vector(row) for row in rows])
    one_by_one = [found.probability(vector) for vector in vectors.tolist()]
    assert len(set(one_by_one)) > 3
    assert found.probabilities(vectors) == pytest.approx(one_by_one, abs=1e-12)


def test_the_order_of_the_fields_does_not_matter(version: Compiled) -> None:
    backwards = [dict(reversed(row.items())) for row in ROWS]
    assert loaded(version).score(backwards) == loaded(version).score(ROWS)


def test_a_table_is_encoded_as_its_rows_are(version: Compiled) -> None:
    found = loaded(version)
    rows = [*ROWS, {"tenure": 3.0, "minutes": None, "region": "Mars"}]
    rows.append({"tenure": 3.0, "minutes": 1.0, "region": None})
    vectors = [found.encoding.vector(row) for row in rows]
    assert found.encode_pandas(model.frame(rows, SCHEMA)).tolist() == vectors


@pytest.mark.parametrize("what", ["scorer_file", "schema_file"])
def test_a_file_that_was_changed_since_training_is_refused(what: str, version: Compiled) -> None:
    contents = {"scorer_file": version.scorer_file, "schema_file": version.schema_file}
    contents[what] += b" "
    with pytest.raises(NotServable, match=r"its file has the SHA-256 .*it was changed since"):
        scorer.load(**contents, tags=version.tags)


@pytest.mark.parametrize("tag", [Tag.SCORER_SHA256, Tag.SCHEMA_SHA256])
def test_a_version_without_recorded_hashes_is_refused(tag: str, version: Compiled) -> None:
    tags = {name: value for name, value in version.tags.items() if name != tag}
    with pytest.raises(NotServable, match=f"recorded nothing… as {tag}"):
        scorer.load(version.scorer_file, version.schema_file, tags)


@pytest.mark.parametrize("difference", ["2e-06", "0.5", "nan", ""])
def test_a_version_whose_scorer_disagrees_with_its_pipeline_is_refused(
    difference: str, version: Compiled
) -> None:
    tags = version.tags | {Tag.SCORER_DIFFERENCE: difference}
    with pytest.raises(NotServable, match="its compiled scorer differs from its pipeline by"):
        scorer.load(version.scorer_file, version.schema_file, tags)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 garbage", b"\x00" * 1000])
def test_a_broken_scorer_is_refused(content: bytes, version: Compiled) -> None:
    said = refusal(content, version.schema_file)
    assert said.startswith("its scorer cannot be loaded: ")


def test_a_scorer_that_is_cut_off_is_refused(version: Compiled) -> None:
    content = version.scorer_file[: len(version.scorer_file) // 2]
    assert "its scorer cannot be loaded" in refusal(content, version.schema_file)


def graph(*nodes: onnx.NodeProto, encoding: str = "", data: Path | None = None) -> bytes:
    """Another ONNX file with these nodes."""
    given = helper.make_tensor_value_info("vectors", TensorProto.DOUBLE, ["rows", "width"])
    answer = helper.make_tensor_value_info("probability", TensorProto.DOUBLE, ["rows"])
    constants = []
    if data:
        outside = TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[1])
        outside.data_location = TensorProto.EXTERNAL
        outside.external_data.add(key="location", value=str(data))
        constants.append(outside)
    made = helper.make_model(
        helper.make_graph(list(nodes), "other", [given], [answer], constants),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("foreign", 1)],
    )
    if encoding:
        helper.set_model_props(made, {"encoding": encoding})
    content: bytes = made.SerializeToString()
    return content


def test_a_scorer_of_foreign_operators_is_refused(version: Compiled) -> None:
    node = helper.make_node("Anything", ["vectors"], ["probability"], domain="foreign")
    assert "its scorer cannot be loaded" in refusal(graph(node), version.schema_file)


@pytest.mark.parametrize("newer", ["ir_version", "opset"])
def test_a_scorer_of_a_newer_format_is_refused_without_a_word_of_our_insides(
    newer: str, version: Compiled
) -> None:
    proto = onnx.load_from_string(version.scorer_file)
    if newer == "opset":
        proto.opset_import[0].version = 99
    else:
        proto.ir_version = 99
    said = refusal(proto.SerializeToString(), version.schema_file)
    assert said.startswith("its scorer cannot be loaded: ")
    assert "99" in said
    assert "/onnxruntime" not in said
    assert "::" not in said


def test_a_scorer_that_reads_other_files_is_refused(version: Compiled, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\x00" * 8)
    node = helper.make_node("Squeeze", ["w"], ["probability"])
    content = graph(node, data=tmp_path / "secret")
    assert "its scorer cannot be loaded" in refusal(content, version.schema_file)


@pytest.mark.parametrize("encoding", ["", "{", "[]", "5", '{"tenure": {}}', "{}"])
def test_a_scorer_without_its_encoding_is_refused(encoding: str, version: Compiled) -> None:
    node = helper.make_node("ReduceSum", ["vectors"], ["probability"], keepdims=0)
    refusal(graph(node, encoding=encoding), version.schema_file)


@pytest.mark.parametrize("difference", [2e-6, -2e-6, 0.5])
def test_a_version_that_answers_its_example_otherwise_is_refused(
    difference: float, version: Compiled
) -> None:
    example = schema_of(version).example
    recorded = example.probability + difference
    said = refusal(version.scorer_file, with_example(version, recorded))
    assert said == (
        f"it answers its own example with {example.probability:.7f}, in training {recorded:.7f}"
    )


def test_a_rounding_error_in_the_example_is_let_pass(version: Compiled) -> None:
    near = with_example(version, schema_of(version).example.probability + 5e-7)
    tags = Compiled(version.scorer_file, near, 0.0, 1).tags
    scorer.load(version.scorer_file, near, tags)


def with_example(version: Compiled, probability: float) -> bytes:
    schema = schema_of(version)
    example = schema.example.model_copy(update={"probability": probability})
    return schema.model_copy(update={"example": example}).model_dump_json().encode()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"columns": {"a": {"type": "number"}}}']
)
def test_a_schema_that_cannot_be_read_is_refused(content: bytes, version: Compiled) -> None:
    said = refusal(version.scorer_file, content)
    assert said.startswith("its schema cannot be read: ")


def test_a_scorer_of_other_columns_than_its_schema_is_refused(version: Compiled) -> None:
    schema = schema_of(version)
    columns = {name: column for name, column in schema.columns.items() if name != "region"}
    other = schema.model_copy(update={"columns": columns}).model_dump_json().encode()
    assert refusal(version.scorer_file, other) == "its scorer and its schema have different columns"


def test_probabilities_lie_between_0_and_1(version: Compiled) -> None:
    answers = np.array(loaded(version).score(ROWS))
    assert ((answers >= 0) & (answers <= 1)).all()
