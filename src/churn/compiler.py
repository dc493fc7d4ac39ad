"""Compiles a fitted classifier: into an encoding of rows and one ONNX graph that scores them.

The graph takes double precision throughout, because scikit-learn's trees compare doubles (those of
a forest: floats with doubles), and a threshold that is rounded sends a row the other way.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline

from churn import model
from churn.column import Value
from churn.encoding import CategorySegments, Encoding, NumberSegments, Segment
from churn.registry import Tag
from churn.schema import ModelSchema
from churn.scorer import ENCODING, INPUT, OUTPUT, assemble

# What ONNX Runtime 1.32 reads, and some years of its predecessors.
_IR = 10
_OPSETS = {"": 18, "ai.onnx.ml": 5}


@dataclass(frozen=True)
class Compiled:
    """A compiled model as the two files that churn.scorer loads, and the largest difference of its
    probabilities from the pipeline's on `rows` rows."""

    scorer_file: bytes
    schema_file: bytes
    difference: float
    rows: int

    @property
    def tags(self) -> dict[str, str]:
        """What a version has to say of it."""
        return {
            Tag.SCORER_SHA256: hashlib.sha256(self.scorer_file).hexdigest(),
            Tag.SCHEMA_SHA256: hashlib.sha256(self.schema_file).hexdigest(),
            Tag.SCORER_DIFFERENCE: f"{self.difference:.3g}",
        }


def compiled(
    classifier: FixedThresholdClassifier, schema: ModelSchema, features: pd.DataFrame
) -> Compiled:
    """Compile the fitted classifier, and compare it with what came out, on all rows of `features`
    and on some of them with each column missing or unknown."""
    schema_file = schema.model_dump_json(indent=2, exclude_defaults=True).encode()
    scorer_file = compile_model(classifier, schema)
    scorer = assemble(scorer_file, schema_file)
    difference, rows = 0.0, 0
    for some in (features, *_hostile(features, schema)):
        ours = scorer.probabilities(scorer.encode_pandas(some))
        theirs = model.probability(classifier, some)
        difference = max(difference, float(np.abs(ours - theirs).max()))
        rows += len(some)
    return Compiled(scorer_file, schema_file, difference, rows)


def compile_model(classifier: FixedThresholdClassifier, schema: ModelSchema) -> bytes:
    """The classifier as an ONNX file with its encoding."""
    inner = classifier.estimator_
    calibrator = None
    if isinstance(inner, CalibratedClassifierCV):
        (calibrated,) = inner.calibrated_classifiers_
        (calibrator,) = calibrated.calibrators
        inner = calibrated.estimator
    layout = _Layout(inner[0], schema)
    graph = _Graph()
    value = _estimate(graph, inner[-1], layout)
    if calibrator is not None:
        _calibrate(graph, calibrator, value)
    elif not isinstance(inner[-1], RandomForestClassifier):
        graph.node("Sigmoid", value)
    graph.nodes[-1].output[0] = OUTPUT
    return graph.serialise(layout.encoding())


def _hostile(features: pd.DataFrame, schema: ModelSchema) -> Iterable[pd.DataFrame]:
    some = features.iloc[:: max(1, len(features) // 50)]
    for name in schema.features:
        yield some.assign(**{name: _column(some, name, None, schema)})
        if name in schema.categorical:
            yield some.assign(**{name: _column(some, name, _unseen(schema, name), schema)})


def _column(rows: pd.DataFrame, name: str, value: Value, schema: ModelSchema) -> pd.Series:
    kind = "str" if name in schema.categorical else "float64"
    return pd.Series([value] * len(rows), index=rows.index, dtype=kind)


def _unseen(schema: ModelSchema, name: str) -> str:
    """A category that training did not see."""
    seen = schema.used[name].seen
    word = "unseen"
    while seen and word in seen.values:
        word += "!"
    return word


class _Layout:
    """Where the outputs of the pipeline's columns stand, and where they go.

    The fitted ColumnTransformer writes one block after another, each for many columns; the encoding
    has all that belongs to one column in one place. `order` holds, for each number of the vector,
    its place in the ColumnTransformer's output.
    """

    def __init__(self, columns: ColumnTransformer, schema: ModelSchema) -> None:
        self.schema = schema
        self._columns = columns
        self._blocks = columns.named_transformers_
        self._slices = columns.output_indices_
        self.numbers = self._number_places()
        self.categories = self._category_places()
        places = self.numbers | self.categories
        self.order = [place for name in schema.features for place in places[name]]

    @property
    def scaler(self) -> Any:
        """The fitted StandardScaler of the numeric columns, or None."""
        block = self._blocks.get("numeric")
        return block[-1] if isinstance(block, Pipeline) else None

    def encoding(self) -> Encoding:
        found: dict[str, NumberSegments | CategorySegments] = {}
        for name in self.schema.features:
            if name in self.numbers:
                found[name] = self._number_segments(name)
            else:
                found[name] = self._category_segments(name)
        return Encoding(found)

    @property
    def _imputer(self) -> Any:
        block = self._blocks.get("numeric")
        block = block[0] if isinstance(block, Pipeline) else block
        return block if hasattr(block, "statistics_") else None

    def _number_places(self) -> dict[str, list[int]]:
        names = self.schema.numeric
        if not names:
            return {}
        start = self._slices["numeric"].start
        if self._imputer is None:  # VarianceThreshold leaves some out
            kept = self._blocks["numeric"].get_support()
            free = iter(range(start, start + int(kept.sum())))
            return {name: [next(free)] if k else [] for name, k in zip(names, kept, strict=True)}
        places = {name: [start + number] for number, name in enumerate(names)}
        for at, number in enumerate(self._indicated(), start=start + len(names)):
            places[names[number]].append(at)
        return places

    def _indicated(self) -> list[int]:
        """The numbers of the numeric columns that have an indicator of missing values."""
        indicator = self._imputer.indicator_
        return [] if indicator is None else list(indicator.features_)

    def _number_segments(self, name: str) -> NumberSegments:
        places = self.numbers[name]
        if self._imputer is None:
            return NumberSegments(bool(places), (), (float("nan"),) * len(places))
        median = float(self._imputer.statistics_[self.schema.numeric.index(name)])
        indicated = len(places) - 1
        return NumberSegments(True, (0.0,) * indicated, (median, *(1.0,) * indicated))

    def _category_places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {name: [] for name in self.schema.categorical}
        if not places:
            return {}
        encoder = self._blocks["categorical"]
        at = self._slices["categorical"].start
        for number, name in enumerate(self.schema.categorical):
            width = len(encoder.categories_[number])
            rare = encoder.infrequent_categories_[number]
            if rare is not None:
                width -= len(rare) - 1
            places[name] += range(at, at + width)
            at += width
        if "rate" in self._blocks:
            for at, name in enumerate(self.schema.categorical, start=self._slices["rate"].start):
                places[name].append(at)
        return places

    def _category_segments(self, name: str) -> CategorySegments:
        """What the pipeline makes of each value, looked at through the pipeline itself."""
        column = self.schema.used[name]
        seen = column.seen.values if column.seen else ()
        example = self.schema.example.row
        probes = [{**example, name: value} for value in (*seen, _unseen(self.schema, name), None)]
        made = self._columns.transform(model.frame(probes, self.schema))[:, self.categories[name]]
        made = np.asarray(made.todense() if hasattr(made, "todense") else made)
        *known, unknown, missing = map(_segment, made)
        return CategorySegments(dict(zip(seen, known, strict=True)), unknown, missing)


def _segment(values: NDArray[np.float64]) -> Segment:
    return tuple(map(float, values))


@dataclass
class _Graph:
    """An ONNX graph that grows node by node; nodes and constants are named by their numbers."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, values: Any, kind: Any = np.float64) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=kind), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def serialise(self, encoding: Encoding) -> bytes:
        rows = [("rows", encoding.width), ("rows", 1)]
        given, answered = (
            helper.make_tensor_value_info(name, TensorProto.DOUBLE, list(shape))
            for name, shape in zip((INPUT, OUTPUT), rows, strict=True)
        )
        graph = helper.make_graph(self.nodes, "churn", [given], [answered], self.constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
        made = helper.make_model(graph, ir_version=_IR, opset_imports=opsets)
        helper.set_model_props(made, {ENCODING: json.dumps(encoding.as_json())})
        onnx.checker.check_model(made)
        content: bytes = made.SerializeToString(deterministic=True)
        return content


def _estimate(graph: _Graph, estimator: Any, layout: _Layout) -> str:
    """The estimator's decision function, of a forest its probability, shape (rows, 1)."""
    match estimator:
        case LogisticRegression():
            return _linear(graph, estimator, layout)
        case HistGradientBoostingClassifier():
            trees = (_boosted(predictor.nodes, layout) for (predictor,) in estimator._predictors)
            start = float(np.ravel(estimator._baseline_prediction)[0])
            return _trees(graph, INPUT, trees, start)
        case RandomForestClassifier():
            grown = estimator.estimators_
            # scikit-learn hands floats to these trees, whose thresholds are doubles.
            rounded = graph.node("Cast", INPUT, to=TensorProto.FLOAT)
            rounded = graph.node("Cast", rounded, to=TensorProto.DOUBLE)
            return _trees(graph, rounded, (_grown(e.tree_, layout, len(grown)) for e in grown), 0.0)
    raise TypeError(f"no compiler for {type(estimator).__name__}")


def _linear(graph: _Graph, estimator: LogisticRegression, layout: _Layout) -> str:
    """Weights for the values as they are: the scaling is part of them, since every node of a graph
    takes a row some microseconds."""
    weights, intercept = estimator.coef_[0].astype(np.float64), float(estimator.intercept_[0])
    if layout.scaler is not None:
        numeric = [place for places in layout.numbers.values() for place in places]
        weights = weights.copy()
        weights[numeric] /= layout.scaler.scale_[numeric]
        intercept -= float(layout.scaler.mean_[numeric] @ weights[numeric])
    column = graph.constant(weights[layout.order].reshape(-1, 1))
    return graph.node("Gemm", INPUT, column, graph.constant([intercept]))


@dataclass(frozen=True)
class _Tree:
    """A fitted tree, an entry a node, the root first: a row goes `left` where its `feature` is at
    or below the threshold, and a leaf adds its `value`."""

    leaf: NDArray[np.bool_]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.int64]
    value: NDArray[np.float64]


def _boosted(nodes: Any, layout: _Layout) -> _Tree:
    leaf = nodes["is_leaf"].astype(bool)
    return _Tree(
        leaf=leaf,
        feature=_vector_places(layout)[np.where(leaf, 0, nodes["feature_idx"])],
        threshold=nodes["num_threshold"],
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        missing_left=nodes["missing_go_to_left"].astype(np.int64),
        value=nodes["value"],
    )


def _grown(tree: Any, layout: _Layout, share: int) -> _Tree:
    leaf = tree.children_left == -1
    votes = tree.value[:, 0, :]
    return _Tree(
        leaf=leaf,
        feature=_vector_places(layout)[np.where(leaf, 0, tree.feature)],
        threshold=tree.threshold,
        left=tree.children_left,
        right=tree.children_right,
        missing_left=np.zeros(tree.node_count, dtype=np.int64),
        value=votes[:, 1] / votes.sum(axis=1) / share,
    )


def _vector_places(layout: _Layout) -> NDArray[np.int64]:
    """The place in the vector of each output of the ColumnTransformer."""
    places = np.zeros(max(layout.order) + 1, dtype=np.int64)
    places[layout.order] = np.arange(len(layout.order))
    return places


def _trees(graph: _Graph, given: str, trees: Iterable[_Tree], start: float) -> str:
    """A node that adds up `start` and the leaves that a row comes to, shape (rows, 1).

    ONNX numbers splits and leaves apart, each through all trees.
    """
    found: dict[str, list[NDArray[Any]]] = defaultdict(list)
    splits = leaves = 0
    for tree in map(_with_a_split, trees):
        split = ~tree.leaf
        # Of each node its number among the splits or among the leaves.
        number = np.where(split, splits + np.cumsum(split) - 1, leaves + np.cumsum(tree.leaf) - 1)
        found["tree_roots"].append(np.array([splits]))
        found["nodes_featureids"].append(tree.feature[split])
        found["nodes_splits"].append(tree.threshold[split])
        found["nodes_missing_value_tracks_true"].append(tree.missing_left[split])
        for side, child in (("true", tree.left[split]), ("false", tree.right[split])):
            found[f"nodes_{side}nodeids"].append(number[child])
            found[f"nodes_{side}leafs"].append(tree.leaf[child].astype(np.int64))
        # The first tree brings the start, because ONNX has no place for it.
        found["leaf_weights"].append(tree.value[tree.leaf] + (0.0 if splits else start))
        splits, leaves = splits + int(split.sum()), leaves + int(tree.leaf.sum())
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    tensors = {
        name: numpy_helper.from_array(joined.pop(name).astype(np.float64), name)
        for name in ("nodes_splits", "leaf_weights")
    }
    return graph.node(
        "TreeEnsemble",
        given,
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=_SUM,
        post_transform=_NO_TRANSFORM,
        nodes_modes=numpy_helper.from_array(np.full(splits, _LESS_OR_EQUAL, dtype=np.uint8)),
        leaf_targetids=[0] * leaves,
        **tensors,
        **{name: values.tolist() for name, values in joined.items()},
    )


# How ONNX numbers what the node can do.
_SUM, _NO_TRANSFORM, _LESS_OR_EQUAL = 1, 0, 0


def _with_a_split(tree: _Tree) -> _Tree:
    """The tree; one that is a single leaf as a split with that leaf on both sides, because ONNX's
    trees begin with a split."""
    if not tree.leaf[0]:
        return tree
    value = tree.value[0]
    return _Tree(
        leaf=np.array([False, True, True]),
        feature=np.zeros(3, dtype=np.int64),
        threshold=np.zeros(3),
        left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]),
        missing_left=np.zeros(3, dtype=np.int64),
        value=np.array([0.0, value, value]),
    )


def _calibrate(graph: _Graph, calibrator: Any, value: str) -> str:
    if hasattr(calibrator, "a_"):  # Platt's sigmoid
        value = graph.node("Mul", value, graph.constant([-calibrator.a_]))
        return graph.node("Sigmoid", graph.node("Sub", value, graph.constant([calibrator.b_])))
    return _interpolate(graph, calibrator.X_thresholds_, calibrator.y_thresholds_, value)


def _interpolate(graph: _Graph, xs: Any, ys: Any, value: str) -> str:
    """The line through the points (xs, ys), level outside of them."""
    xs, ys = (np.asarray(points, dtype=np.float64) for points in (xs, ys))
    if len(xs) == 1:
        xs, ys = np.array([xs[0], xs[0] + 1]), np.array([ys[0], ys[0]])
    value = graph.node("Clip", value, graph.constant(xs[0]), graph.constant(xs[-1]))
    # How many inner points are at or below the value says between which two it lies.
    below = graph.node("GreaterOrEqual", value, graph.constant(xs[np.newaxis, 1:-1]))
    below = graph.node("Cast", below, to=TensorProto.INT64)
    axis = graph.constant([1], np.int64)
    at = graph.node("ReduceSum", below, axis, keepdims=1)
    left, low = (graph.node("Gather", graph.constant(points[:-1]), at) for points in (xs, ys))
    slopes = np.diff(ys) / np.diff(xs)
    rise = graph.node("Gather", graph.constant(slopes), at)
    along = graph.node("Mul", graph.node("Sub", value, left), rise)
    return graph.node("Add", low, along)
