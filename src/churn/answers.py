"""The endpoints that score: one row, many rows, and why a row got its probability."""

import itertools
import os
import time
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from churn import traffic
from churn.environment import Environment
from churn.explanation import explain
from churn.fastjson import dumps
from churn.front import Asked, Declined, Reply
from churn.prediction_log import PredictionLog
from churn.privacy import Privacy
from churn.registry import MODEL
from churn.request import BadRow
from churn.schema import REQUEST_ID
from churn.served import Served
from churn.serving import AliasFollower

MAX_REQUEST_ID = 200  # characters


# Asking the system for random bytes takes longer than to count.
_PROCESS, _COUNT = os.urandom(8).hex(), itertools.count()


def _new_id() -> str:
    """An id that no other request has, of any process: 32 hexadecimal digits."""
    return f"{_PROCESS}{next(_COUNT):016x}"


@dataclass(frozen=True)
class Scored:
    """The answers of the good rows, in their order, and what is wrong with each bad one, by its
    index."""

    answers: list[dict[str, Any]]
    bad: dict[int, list[dict[str, Any]]]


class Answers:
    """The scoring endpoints of one process."""

    def __init__(
        self, follower: AliasFollower, log: PredictionLog, environment: Environment
    ) -> None:
        self.follower = follower
        self.log = log
        self.batch_rows = environment.BATCH_ROWS
        self._log_key = environment.PREDICTION_LOG_KEY
        self._private: tuple[Served, Privacy] | None = None

    def predict(self, asked: Asked) -> Reply:
        """POST /predict: one row, which takes microseconds."""
        started = time.perf_counter()
        served = self.served()
        given, request_id = _one_row(asked.body)
        try:
            vector, warnings = served.reader.read(given)
        except BadRow as error:
            raise Declined(422, error.problems) from None
        probability = served.scorer.probability(vector)
        threshold = served.scorer.schema.threshold
        prediction = 1 if probability >= threshold else 0
        answer = {
            "request_id": request_id,
            "prediction": prediction,
            "probability": probability,
            "threshold": threshold,
            "model_name": MODEL,
            "model_version": served.version.number,
            "warnings": warnings,
        }
        record = {
            "time": time.time(),
            "caller": asked.caller,
            **answer,
            "features": given,
            "latency": time.perf_counter() - started,
        }
        self._record(served, [record])
        served.counted.predicted(prediction)
        return Reply(200, dumps(answer))

    def predict_batch(self, asked: Asked) -> Reply:
        """POST /predict/batch: many rows."""
        served = self.served()
        rows, request_id = self._rows(asked.body)
        found = self.score(served, rows, asked.caller, request_id)
        predictions: list[dict[str, Any] | None] = [*found.answers]
        for index in sorted(found.bad):
            predictions.insert(index, None)
        answer = {
            "request_id": request_id,
            "threshold": served.scorer.schema.threshold,
            "model_name": MODEL,
            "model_version": served.version.number,
            "predictions": predictions,
            "errors": [{"index": at, "detail": wrong} for at, wrong in found.bad.items()],
        }
        return Reply(200, dumps(answer))

    def score(self, served: Served, rows: list[Any], caller: str, request_id: str = "") -> "Scored":
        """Read, score, count and log many rows."""
        started = time.perf_counter()
        if len(rows) > self.batch_rows:
            said = f"{len(rows):,} rows are more than {self.batch_rows:,} (BATCH_ROWS)"
            raise Declined(413, said)
        vectors, warnings, bad = served.reader.read_many(rows)
        probabilities = served.scorer.probabilities(vectors)
        predictions = (probabilities >= served.scorer.schema.threshold).astype(int)
        answers = [
            {"prediction": prediction, "probability": probability, "warnings": said}
            for prediction, probability, said in zip(
                predictions.tolist(), probabilities.tolist(), warnings, strict=True
            )
        ]
        same = {
            "time": time.time(),
            "caller": caller,
            "request_id": request_id or _new_id(),
            "model_name": MODEL,
            "model_version": served.version.number,
            "threshold": served.scorer.schema.threshold,
            "latency": time.perf_counter() - started,
        }
        good = [row for index, row in enumerate(rows) if index not in bad] if bad else rows
        records = [{**each, "features": row} for each, row in zip(answers, good, strict=True)]
        self._record(served, records, same)
        positive = int(predictions.sum())
        served.counted.predicted(1, positive)
        served.counted.predicted(0, len(answers) - positive)
        return Scored(answers, bad)

    def explain(self, asked: Asked) -> Reply:
        """POST /explain: why a row gets its probability."""
        served = self.served()
        given, request_id = _one_row(asked.body)
        try:
            row = served.reader.clean(given)
        except BadRow as error:
            raise Declined(422, error.problems) from None
        answer = {
            "request_id": request_id,
            "model_name": MODEL,
            "model_version": served.version.number,
            **explain(served.scorer, row),
            "warnings": served.scorer.schema.unfamiliar(row),
        }
        return Reply(200, dumps(answer))

    def served(self) -> Served:
        """The version that answers. Declines where there is none."""
        served = self.follower.served
        if served is None:
            raise Declined(503, f"no model is served: {self.follower.problem}")
        return served

    def _rows(self, body: bytes) -> tuple[list[Any], str]:
        given = _object(body)
        request_id = _request_id(given)
        rows = given.pop("rows", None)
        if given or not isinstance(rows, list):
            said = 'a batch is {"rows": [row, …]}, and a request_id if you like'
            raise Declined(422, [_wrong("rows", said, "value_error")])
        return rows, request_id

    def _record(
        self, served: Served, records: list[dict[str, Any]], same: dict[str, Any] | None = None
    ) -> None:
        privacy = self._privacy(served)
        if privacy.wanted:
            records = [privacy.redacted(record) for record in records]
        self.log.write(records, same)
        if self.log.problem:
            traffic.not_logged(len(records))

    def _privacy(self, served: Served) -> Privacy:
        """What the served version's schema lets into the log."""
        if self._private is None or self._private[0] is not served:
            self._private = (served, Privacy(served.scorer.schema, self._log_key))
        return self._private[1]


def _one_row(body: bytes) -> tuple[dict[str, Any], str]:
    given = _object(body)
    return given, _request_id(given)


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = from_json(body)
    except ValueError as error:
        said = f"Invalid JSON: {error}"
        raise Declined(422, [{"loc": ["body"], "msg": said, "type": "json_invalid"}]) from None
    if not isinstance(given, dict):
        said = "the body should be a JSON object"
        raise Declined(422, [{"loc": ["body"], "msg": said, "type": "dict_type"}])
    return given


def _request_id(given: dict[str, Any]) -> str:
    """The id that the request brings, taken out of it, or a new one."""
    request_id = given.pop(REQUEST_ID, None)
    if request_id is None:
        return _new_id()
    if not isinstance(request_id, str) or len(request_id) > MAX_REQUEST_ID:
        said = f"should be a text of at most {MAX_REQUEST_ID} characters"
        raise Declined(422, [_wrong(REQUEST_ID, said, "value_error")])
    return request_id or _new_id()


def _wrong(field: str, said: str, kind: str) -> dict[str, Any]:
    return {"loc": ["body", field], "msg": said, "type": kind}
