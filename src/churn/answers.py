"""The endpoints that score: one row, many rows, and why a row got its probability."""

import itertools
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi.concurrency import run_in_threadpool
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from churn import traffic
from churn.explanation import explain
from churn.fastjson import dumps
from churn.prediction_log import PredictionLog
from churn.registry import MODEL
from churn.request import BadRow
from churn.schema import REQUEST_ID
from churn.serving import AliasFollower, Served

MAX_BODY_BYTES = 64 * 1024
MAX_BATCH_BYTES = 64 * 1024 * 1024
MAX_DRAINED_BYTES = 16 * 1024 * 1024
MAX_REQUEST_ID = 200  # characters

# Bytes; about 1,000 rows, which take less time than Python gives a thread at a time.
_SMALL_BATCH = 256 * 1024


class Declined(Exception):
    """A request that is not answered as it wants; `detail` is the one line that says why, or has
    an entry for each field that is wrong."""

    def __init__(self, status: int, detail: str | list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


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

    def __init__(self, follower: AliasFollower, log: PredictionLog, batch_rows: int) -> None:
        self.follower = follower
        self.log = log
        self.batch_rows = batch_rows
        self._predict = traffic.Endpoint("/predict")
        self._batch = traffic.Endpoint("/predict/batch")
        self._explain = traffic.Endpoint("/explain")

    async def predict(self, request: Request) -> Response:
        """POST /predict. One row takes microseconds, so it is scored on the event loop."""
        return await _answered(self._predict, request, MAX_BODY_BYTES, self._predict_row)

    async def predict_batch(self, request: Request) -> Response:
        """POST /predict/batch. A large one in a thread, so that /predict waits less for it."""

        async def answer(body: bytes) -> Any:
            if len(body) <= _SMALL_BATCH:
                return self._predict_rows(body)
            return await run_in_threadpool(self._predict_rows, body)

        return await _answered(self._batch, request, MAX_BATCH_BYTES, answer)

    async def explain(self, request: Request) -> Response:
        """POST /explain."""
        return await _answered(self._explain, request, MAX_BODY_BYTES, self._explain_row)

    async def _predict_row(self, body: bytes) -> Any:
        started = time.perf_counter()
        served = self.served()
        given, request_id = _one_row(body)
        vector, warnings = _read(served, given)
        probability = float(served.scorer.probabilities(np.array([vector]))[0])
        schema = served.scorer.schema
        prediction = int(probability >= schema.threshold)
        answer = {
            "request_id": request_id,
            "prediction": prediction,
            "probability": probability,
            "threshold": schema.threshold,
            "model_name": MODEL,
            "model_version": served.version.number,
            "warnings": warnings,
        }
        record = {
            "time": time.time(),
            **answer,
            "features": given,
            "latency": time.perf_counter() - started,
        }
        self._record([record])
        served.counted.predicted(prediction)
        return answer

    def _predict_rows(self, body: bytes) -> Any:
        served = self.served()
        rows, request_id = self._rows(body)
        found = self.score(served, rows, request_id)
        predictions: list[dict[str, Any] | None] = [*found.answers]
        for index in sorted(found.bad):
            predictions.insert(index, None)
        return {
            "request_id": request_id,
            "threshold": served.scorer.schema.threshold,
            "model_name": MODEL,
            "model_version": served.version.number,
            "predictions": predictions,
            "errors": [{"index": at, "detail": wrong} for at, wrong in found.bad.items()],
        }

    def score(self, served: Served, rows: list[Any], request_id: str) -> "Scored":
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
            "request_id": request_id or _new_id(),
            "model_name": MODEL,
            "model_version": served.version.number,
            "threshold": served.scorer.schema.threshold,
            "latency": time.perf_counter() - started,
        }
        good = [row for index, row in enumerate(rows) if index not in bad] if bad else rows
        self._record(
            [{**each, "features": row} for each, row in zip(answers, good, strict=True)], same
        )
        positive = int(predictions.sum())
        served.counted.predicted(1, positive)
        served.counted.predicted(0, len(answers) - positive)
        return Scored(answers, bad)

    async def _explain_row(self, body: bytes) -> Any:
        served = self.served()
        given, request_id = _one_row(body)
        try:
            row = served.reader.clean(given)
        except BadRow as error:
            raise Declined(422, error.problems) from None
        return {
            "request_id": request_id,
            "model_name": MODEL,
            "model_version": served.version.number,
            **explain(served.scorer, row),
            "warnings": served.scorer.schema.unfamiliar(row),
        }

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

    def _record(self, records: list[dict[str, Any]], same: dict[str, Any] | None = None) -> None:
        self.log.write(records, same)
        if self.log.problem:
            traffic.not_logged(len(records))


async def _answered(
    endpoint: traffic.Endpoint,
    request: Request,
    limit: int,
    answer: Callable[[bytes], Awaitable[Any]],
) -> Response:
    """The answer to the body of the request as JSON, counted; or why it is declined."""
    started = time.perf_counter()
    status = 200
    try:
        content = await answer(await read_body(request, limit))
    except Declined as declined:
        status, content = declined.status, {"detail": declined.detail}
    endpoint.answered(status, time.perf_counter() - started)
    return Response(dumps(content), status, media_type="application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """The body; one that is larger than `limit` is declined.

    It is read to its end and thrown away, up to a limit: a client that is still sending when the
    connection closes would never see why.
    """
    message = await request.receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and len(body) <= limit:
        return body
    kept, size = [body], len(body)
    while message.get("more_body") and size <= limit + MAX_DRAINED_BYTES:
        message = await request.receive()
        body = message.get("body", b"")
        size += len(body)
        if size <= limit:
            kept.append(body)
    if size > limit:
        raise Declined(413, f"the body is larger than {limit:,} bytes")
    return b"".join(kept)


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


def _read(served: Served, given: dict[str, Any]) -> tuple[list[float], list[str]]:
    try:
        return served.reader.read(given)
    except BadRow as error:
        raise Declined(422, error.problems) from None


def _wrong(field: str, said: str, kind: str) -> dict[str, Any]:
    return {"loc": ["body", field], "msg": said, "type": kind}
