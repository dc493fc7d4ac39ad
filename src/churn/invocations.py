"""MLflow's scoring protocol, so that a client of `mlflow models serve` moves over by changing an
address: its inputs, content types, status codes and error bodies.

What differs on purpose: a text such as "NA" in a CSV file is what the schema says and not missing,
and a value that the schema does not allow is refused, be it beyond a hard limit or missing.
Source: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally (MLflow 3.17).
"""

import csv
import io
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from churn.answers import Answers
from churn.fastjson import dumps
from churn.front import Asked, Declined, Reply
from churn.keys import Headers
from churn.request import BadRow
from churn.served import Served

CSV, JSON = "text/csv", "application/json"
_KEYS = ("instances", "inputs", "dataframe_split", "dataframe_records")
_SHOWN = 3

Rows = list[dict[str, Any]]


class _Unsupported(Exception):
    """A content type that is not taken: HTTP 415."""


class _BadRequest(Exception):
    """An input that cannot be used: HTTP 400 with MLflow's error body."""

    code = "BAD_REQUEST"


class _NotTheSchema(_BadRequest):
    """Rows without the columns of the model's signature."""

    code = "INVALID_PARAMETER_VALUE"


class Invocations:
    """The endpoints of MLflow's protocol; they score by the same model as the others."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def invoke(self, asked: Asked) -> Reply:
        """POST /invocations: the prediction of each row."""
        try:
            read = _reader(_content_type(asked.headers))
            return Reply(200, dumps({"predictions": self._predict(read, asked)}))
        except Declined as declined:
            return Reply(declined.status, _error(str(declined.detail), "BAD_REQUEST"))
        except _Unsupported as error:
            return Reply(415, str(error).encode(), b"text/plain; charset=utf-8")
        except _BadRequest as error:
            return Reply(400, _error(str(error), error.code))

    async def ping(self, _: Request) -> Response:
        """GET /ping: whether a model is loaded."""
        there = self._answers.follower.served is not None
        return Response("\n", 200 if there else 404, media_type=JSON)

    async def version(self, _: Request) -> Response:
        """GET /version: the MLflow that logged the model."""
        served = self._answers.follower.served
        if served is None:
            return Response("\n", 404, media_type=JSON)
        return Response(served.mlflow_version, media_type=JSON)

    def _predict(self, read: Callable[[bytes], Rows], asked: Asked) -> list[int]:
        served = self._answers.served()
        rows = [_row(served, given) for given in read(asked.body)]
        if not rows:
            raise _BadRequest("The input has no rows")
        found = self._answers.score(served, rows, asked.caller)
        if found.bad:
            shown = [
                f"row {index}: {BadRow(problems)}"
                for index, problems in list(found.bad.items())[:_SHOWN]
            ]
            more = f" and {len(found.bad) - _SHOWN} more rows" if len(found.bad) > _SHOWN else ""
            kinds = {problem["type"] for problems in found.bad.values() for problem in problems}
            refusal = _NotTheSchema if "missing" in kinds else _BadRequest
            raise refusal(f"Failed to enforce the model's schema: {'; '.join(shown)}{more}")
        return [answer["prediction"] for answer in found.answers]


def _content_type(headers: Headers) -> str:
    found = (value for name, value in headers if name == b"content-type")
    return str(next(found, b""), "latin-1")


def _error(message: str, code: str) -> bytes:
    return dumps({"error_code": code, "message": message})


def _reader(content_type: str) -> Callable[[bytes], Rows]:
    """How to read a body of this type. Raises _Unsupported."""
    kind, *rest = (part.strip() for part in content_type.split(";"))
    parameters = dict(part.partition("=")[::2] for part in rest)
    if parameters.pop("charset", "utf-8").lower() != "utf-8":
        raise _Unsupported("The scoring server only supports UTF-8")
    if parameters:
        raise _Unsupported(f"Unrecognized content type parameters: {', '.join(parameters)}")
    if kind == JSON:
        return _read_json
    if kind == CSV:
        return _read_csv
    raise _Unsupported(
        f"This predictor only supports the following content types: {CSV}, {JSON}."
        f" Got '{content_type}'."
    )


def _read_csv(body: bytes) -> Rows:
    try:
        return list(csv.DictReader(io.StringIO(body.decode("utf-8"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _BadRequest(f"Failed to parse input as CSV: {error}") from None


def _read_json(body: bytes) -> Rows:
    try:
        given = from_json(body)
    except ValueError as error:
        raise _BadRequest(f"Ensure that input is a valid JSON formatted string: {error}") from None
    keys = set(given) & set(_KEYS) if isinstance(given, dict) else set()
    if len(keys) != 1:
        raise _BadRequest(
            "The input must be a JSON dictionary with exactly one of the input fields"
            f" {', '.join(_KEYS)}"
        )
    (key,) = keys
    try:
        return _records(key, given[key])
    except (KeyError, TypeError, ValueError) as error:
        raise _BadRequest(f"{key} cannot be read: {error!r}") from None


def _records(key: str, data: Any) -> Rows:
    if key == "dataframe_split":
        columns = data["columns"]
        return [dict(zip(columns, values, strict=True)) for values in data["data"]]
    if isinstance(data, dict):
        if key == "dataframe_records":
            raise TypeError("a list of records is expected")
        # One value stands for a column of one row.
        lists = [value if isinstance(value, list) else [value] for value in data.values()]
        return [dict(zip(data, values, strict=True)) for values in zip(*lists, strict=True)]
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise TypeError("a list of records, or a list of values for each column, is expected")
    return data


def _row(served: Served, given: dict[str, Any]) -> dict[str, Any]:
    """The row as the project's own endpoints take it: MLflow lets columns be too many, leaves out
    those that may be missing, and takes a text of CSV for a number."""
    row = {}
    for name, column in served.scorer.schema.used.items():
        if name in given or column.nullable:
            row[name] = column.plain(given.get(name), served.scorer.schema.missing_values)
    return row
