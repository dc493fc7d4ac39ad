"""What scores: a compiled model with its schema, loaded from the files of a version.

A compiled model is one ONNX file, whose metadata hold the encoding of rows. Loading it runs no code
that it brings along, and scoring needs neither pandas nor scikit-learn.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import ValidationError

from churn.column import Value
from churn.encoding import CategorySegments, Encoding
from churn.errors import UserError
from churn.registry import Tag
from churn.schema import ModelSchema

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

# Where train.py puts the two files that serving needs, inside the MLflow model.
SCORER_FILE = "extra_files/scorer.onnx"
SCHEMA_FILE = "extra_files/schema.json"

# The names inside the ONNX file.
INPUT, OUTPUT, ENCODING = "vectors", "probability", "encoding"

_OUTPUTS = [OUTPUT]

_MANY = 100  # rows

TOLERANCE = 1e-6
"""By how much a probability may differ from that of the fitted pipeline."""


class NotServable(UserError):
    """A version whose files cannot be loaded, or that does not answer as it did in training."""


@dataclass(frozen=True)
class Scorer:
    """A compiled model with the schema that it was trained by, and whether it is made of trees.
    Safe to use from several threads."""

    schema: ModelSchema
    encoding: Encoding
    session: onnxruntime.InferenceSession
    trees: bool

    def probabilities(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability of the positive class for each vector, shape (rows,), range 0 to 1.

        Many rows go through trees in an order in which neighbours are alike: they take the same
        turns, the processor guesses them right, and 100,000 rows take a third of the time.
        """
        if not self.trees or len(vectors) < _MANY:
            return self._run(vectors)
        order = np.lexsort(vectors.T[::-1])
        answers = np.empty(len(vectors))
        answers[order] = self._run(vectors[order])
        return answers

    def _run(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        answers: NDArray[np.float64] = self.session.run(_OUTPUTS, {INPUT: vectors})[0]
        return answers[:, 0]

    def probability(self, vector: list[float]) -> float:
        """The probability of the positive class for one vector, range 0 to 1."""
        answer: float = self.session.run(_OUTPUTS, {INPUT: np.array([vector])})[0].item()
        return answer

    def score(self, rows: Sequence[Mapping[str, Value]]) -> list[float]:
        """The probability of the positive class for each clean row, in their order."""
        if not rows:
            return []
        vectors = np.array([self.encoding.vector(row) for row in rows], dtype=np.float64)
        answers: list[float] = self.probabilities(vectors).tolist()
        return answers

    def encode_frame(self, rows: "pl.DataFrame") -> NDArray[np.float64]:
        """The vectors of a table of clean features (see table.clean_features)."""
        import polars as pl

        columns: dict[str, NDArray[Any]] = {}
        for name, column in self.encoding.columns.items():
            values = rows[name]
            if isinstance(column, CategorySegments):
                codes = values.replace_strict(
                    list(column.codes),
                    list(column.codes.values()),
                    default=len(column.known),
                    return_dtype=pl.Int32,
                )
                missing = len(column.known) + 1
                columns[name] = np.where(values.is_null().to_numpy(), missing, codes.to_numpy())
            else:
                columns[name] = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return self.encoding.matrix(columns)

    def encode_pandas(self, rows: "pd.DataFrame") -> NDArray[np.float64]:
        """The vectors of a table as the pipeline takes it (see model.frame)."""
        import polars as pl

        return self.encode_frame(pl.from_pandas(rows[self.schema.features], nan_to_null=True))


def load(scorer_file: bytes, schema_file: bytes, tags: Mapping[str, str]) -> Scorer:
    """A scorer from the two files of a version and its tags, after it has answered its own example.

    Raises NotServable where the files are not those that training recorded, where the compiled
    model does not agree with the fitted pipeline, or does not answer as it did.
    """
    for content, tag in ((scorer_file, Tag.SCORER_SHA256), (schema_file, Tag.SCHEMA_SHA256)):
        recorded = tags.get(tag, "nothing")
        found = hashlib.sha256(content).hexdigest()
        if found != recorded:
            raise NotServable(
                f"its file has the SHA-256 {found[:12]}… and training recorded {recorded[:12]}…"
                f" as {tag}: it was changed since"
            )
    check_agreement(tags.get(Tag.SCORER_DIFFERENCE, ""))
    scorer = assemble(scorer_file, schema_file)
    _check_example(scorer)
    return scorer


def check_agreement(difference: str) -> None:
    """Raises NotServable where the compiled model differs too much from the fitted pipeline."""
    if not difference or not float(difference) <= TOLERANCE:
        raise NotServable(
            f"its compiled scorer differs from its pipeline by {difference or 'nobody knows what'},"
            f" and {TOLERANCE:g} is allowed"
        )


def assemble(scorer_file: bytes, schema_file: bytes) -> Scorer:
    """A scorer from the two files as they are. Raises NotServable where they cannot be read."""
    try:
        schema = ModelSchema.model_validate_json(schema_file)
    except ValidationError as error:
        raise NotServable(f"its schema cannot be read: {error.errors()[0]['msg']}") from None
    try:
        session = onnxruntime.InferenceSession(
            scorer_file, _options(), providers=["CPUExecutionProvider"]
        )
        found = session.get_modelmeta().custom_metadata_map[ENCODING]
        encoding = Encoding.from_json(json.loads(found))
    except Exception as error:  # noqa: BLE001 - a broken file raises about anything
        raise NotServable(f"its scorer cannot be loaded: {_first_line(error)}") from None
    if list(encoding.columns) != schema.features:
        raise NotServable("its scorer and its schema have different columns")
    return Scorer(schema, encoding, session, trees=b"TreeEnsemble" in scorer_file)


def _options() -> onnxruntime.SessionOptions:
    """One thread for a call: rows are scored one by one, or in pieces that share out the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # it keeps 6 MB and is no faster
    return options


def _check_example(scorer: Scorer) -> None:
    example = scorer.schema.example
    try:
        answer = scorer.score([example.row])[0]
    except Exception as error:  # noqa: BLE001 - as above
        raise NotServable(
            f"its scorer cannot score its own example: {_first_line(error)}"
        ) from None
    if not abs(answer - example.probability) <= TOLERANCE:
        raise NotServable(
            f"it answers its own example with {answer:.7f}, in training {example.probability:.7f}"
        )


# Where in its own sources ONNX Runtime found it: a path, and a function with its parameters. /model
# shows callers the rest, and that begins behind it.
_WHERE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:/\S+:\d+ .*?\) )?")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [repr(error)]
    return _WHERE.sub("", lines[0])[:200]
