"""/openapi.json of this moment: the scoring endpoints take what the served version takes.

They never reach FastAPI (see churn.front), and what a connection or the front turns away does not
either, so these parts of the document are written here.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict

from churn import request
from churn.answers import MAX_REQUEST_ID
from churn.environment import Environment
from churn.front import PROBES
from churn.invocations import CSV, JSON
from churn.schema import REQUEST_ID, ModelSchema
from churn.served import Served


class Model(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), extra="forbid")


class Prediction(Model):
    prediction: int
    probability: float
    warnings: list[str]


class PredictResponse(Prediction):
    """The answer to POST /predict."""

    request_id: str
    threshold: float
    model_name: str
    model_version: str


class BadRow(Model):
    """What is wrong with one row of a batch."""

    index: int
    detail: list[dict[str, Any]]


class BatchResponse(Model):
    """The answer to POST /predict/batch: a prediction for each row, null for a bad one."""

    request_id: str
    threshold: float
    model_name: str
    model_version: str
    predictions: list[Prediction | None]
    errors: list[BadRow]


class Contribution(Model):
    """What one feature adds to the probability of the reference customer."""

    feature: str
    value: float | str | bool | None
    reference: float | str | bool | None
    contribution: float


class ExplainResponse(Model):
    """The answer to POST /explain: probability = reference_probability + contributions +
    remainder."""

    request_id: str
    model_name: str
    model_version: str
    probability: float
    reference_probability: float
    contributions: list[Contribution]
    remainder: float
    warnings: list[str]


class Problem(BaseModel):
    """Why a request was not answered: one line, or one entry for each field that is wrong."""

    detail: str | list[dict[str, Any]]


class MlflowProblem(Model):
    """Why POST /invocations was not answered, as MLflow says it."""

    error_code: str
    message: str


_SCHEMAS = (PredictResponse, BatchResponse, ExplainResponse, Problem, MlflowProblem)
_REF = "#/components/schemas/{model}"

DESCRIPTION = """
The features are those of the version that is served now. Another path is a 404, another method a
405, and both say so as a `Problem`. A body is read as JSON whatever its content type says, but that
of `/invocations`, which may be CSV.
"""

_ANY = {
    "400": "This is no HTTP request",
    "408": "The request did not arrive in time",
    "431": "The headers are too many or too large",
    "503": "There are too many connections, or too many requests under way, or no model is served",
}
_NO_KEY = "A key is needed"
_REFUSED = {
    "413": "The body is too large, or has too many rows",
    "422": "A field is missing, unknown or wrong",
}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document(
    app: FastAPI, served: Served | None, environment: Environment, keys: bool
) -> dict[str, Any]:
    """The OpenAPI document while `served` answers, to callers with `keys` or to anybody."""
    found = get_openapi(
        title=app.title, version=app.version, routes=app.routes, description=DESCRIPTION
    )
    schema = served.scorer.schema if served else None
    parts = found.setdefault("components", {})
    parts["schemas"] = parts.get("schemas", {}) | _schemas(schema, environment)
    found["paths"] |= _paths(schema)
    for path, operations in found["paths"].items():
        closed = keys and path not in PROBES and path not in environment.OPEN_PATHS
        for operation in operations.values():
            _turn_away(operation, closed)
    if keys:
        parts["securitySchemes"] = _SECURITY
    return found


def _schemas(schema: ModelSchema | None, environment: Environment) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for response in _SCHEMAS:
        shown: dict[str, Any] = response.model_json_schema(ref_template=_REF)
        found |= shown.pop("$defs", {})
        found[response.__name__] = shown
    row: dict[str, Any] = {"type": "object"}
    if schema:
        row = request.json_schema(schema)
    request_id = {"type": ["string", "null"], "maxLength": MAX_REQUEST_ID}
    others = "anything else is `null` among the predictions and has an entry in `errors`"
    found["Row"] = row
    found["PredictRequest"] = {
        **row,
        "properties": {**row.get("properties", {}), REQUEST_ID: request_id},
    }
    found["BatchRequest"] = {
        "type": "object",
        "properties": {
            "rows": {
                "type": "array",
                "items": {"anyOf": [_ref("Row"), {"description": others}]},
                "maxItems": environment.BATCH_ROWS,
            },
            REQUEST_ID: request_id,
        },
        "required": ["rows"],
        "additionalProperties": False,
    }
    return found


def _paths(schema: ModelSchema | None) -> dict[str, Any]:
    says = {
        "predict": "The probability that this customer leaves, and the prediction.",
        "batch": "The same for many customers at once.",
        "explain": "What each feature adds to the probability of a typical customer.",
        "invocations": "The predictions of many customers, asked for as `mlflow models serve` is.",
    }
    return {
        "/predict": _scoring("predict", says["predict"], "PredictRequest", "PredictResponse"),
        "/predict/batch": _scoring("batch", says["batch"], "BatchRequest", "BatchResponse"),
        "/explain": _scoring("explain", says["explain"], "PredictRequest", "ExplainResponse"),
        "/invocations": {
            "post": {
                **_operation("invocations", says["invocations"]),
                "requestBody": {"required": True, "content": _mlflow_content(schema)},
                "responses": {
                    "200": _response("OK", {JSON: {"schema": _PREDICTIONS}}),
                    "400": _response("The input cannot be used", _either()),
                    "413": _response(_REFUSED["413"], _either()),
                    "415": _response("The content type is not taken", _TEXT),
                    "503": _response(_ANY["503"], _either()),
                },
            }
        },
        "/ping": _mlflow_probe("ping", "Whether a model is served; the answer is an empty line."),
        "/version": _mlflow_probe("version", "The MLflow that logged the model, as a bare text."),
    }


def _scoring(name: str, said: str, takes: str, answers: str) -> dict[str, Any]:
    responses = {status: _response(why, _content("Problem")) for status, why in _REFUSED.items()}
    return {
        "post": {
            **_operation(name, said),
            "requestBody": {"required": True, "content": _content(takes)},
            "responses": {"200": _response("OK", _content(answers)), **responses},
        }
    }


def _turn_away(operation: dict[str, Any], closed: bool) -> None:
    """Add what the connection and the front may answer in place of the operation."""
    wanted = _ANY | ({"401": _NO_KEY} if closed else {})
    for status, why in wanted.items():
        operation["responses"].setdefault(status, _response(why, _content("Problem")))
    if closed:
        operation["security"] = [{name: []} for name in _SECURITY]


def _operation(name: str, said: str) -> dict[str, Any]:
    return {
        "tags": ["model"],
        "summary": name.capitalize(),
        "description": said,
        "operationId": name,
    }


def _mlflow_probe(name: str, said: str) -> dict[str, Any]:
    # MLflow calls these JSON, which they are not.
    responses = {
        status: _response(why, {JSON: {}})
        for status, why in (("200", "OK"), ("404", "No model is served"))
    }
    return {"get": {**_operation(name, said), "responses": responses}}


def _mlflow_content(schema: ModelSchema | None) -> dict[str, Any]:
    """The inputs of MLflow's protocol; it is freer than this in what the description says."""
    row: dict[str, Any] = {"type": "object"}
    if schema:
        row = request.json_schema(schema, more=True)
    rows = {"type": "array", "items": row, "minItems": 1}
    split: dict[str, Any] = {
        "type": "object",
        "properties": {"columns": {"type": "array"}, "data": {"type": "array"}},
        "required": ["columns", "data"],
    }
    if schema:
        fields = [row["properties"][name] for name in schema.features]
        count = len(fields)
        values = {"type": "array", "prefixItems": fields, "minItems": count, "maxItems": count}
        split["properties"] = {
            "columns": {"const": schema.features},
            "data": {"type": "array", "items": values, "minItems": 1},
        }
    inputs = {
        "dataframe_split": split,
        "dataframe_records": rows,
        "instances": rows,
        "inputs": rows,
    }
    said = (
        "The columns may come in any order and be more, those that may be missing may be left out,"
        " a number may be written as a text, and `instances` and `inputs` may be an object with a"
        " list of values for each column."
    )
    shown = {
        "type": "object",
        "description": said,
        "properties": inputs,
        "oneOf": [{"required": [key]} for key in inputs],
    }
    csv = {"type": "string", "description": "a header, and a line for each customer"}
    return {JSON: {"schema": shown}, CSV: {"schema": csv}}


_PREDICTIONS = {
    "type": "object",
    "properties": {"predictions": {"type": "array", "items": {"enum": [0, 1]}}},
    "required": ["predictions"],
    "additionalProperties": False,
}
_TEXT = {"text/plain": {"schema": {"type": "string"}}}


def _response(said: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": said, "content": content}


def _content(model: str) -> dict[str, Any]:
    return {JSON: {"schema": _ref(model)}}


def _either() -> dict[str, Any]:
    """MLflow's error, or that of the front."""
    return {JSON: {"schema": {"anyOf": [_ref("MlflowProblem"), _ref("Problem")]}}}


def _ref(model: str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model)}
