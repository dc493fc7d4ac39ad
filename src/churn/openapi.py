"""/openapi.json of this moment: the scoring endpoints take what the served version takes.

They are plain Starlette routes, which are twice as fast as FastAPI's own and say nothing about
themselves, so their part of the document is written here.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict

from churn import request
from churn.schema import REQUEST_ID
from churn.serving import Served


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


_RESPONSES = (PredictResponse, BatchResponse, ExplainResponse, Problem)
_REF = "#/components/schemas/{model}"

_REFUSED = {
    "413": "The body is too large",
    "422": "A field is missing, unknown or wrong",
    "503": "No model is served",
}


def document(app: FastAPI, served: Served | None) -> dict[str, Any]:
    """The OpenAPI document while `served` answers."""
    found = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for response in _RESPONSES:
        shown = response.model_json_schema(ref_template=_REF)
        schemas |= shown.pop("$defs", {}) | {response.__name__: shown}
    row: dict[str, Any] = {"type": "object"}
    if served:
        row = request.json_schema(served.scorer.schema)
    request_id = {"type": ["string", "null"], "maxLength": 200}
    schemas["Row"] = row
    schemas["PredictRequest"] = {
        **row,
        "properties": {**row.get("properties", {}), REQUEST_ID: request_id},
    }
    schemas["BatchRequest"] = {
        "type": "object",
        "properties": {
            "rows": {"type": "array", "items": {"$ref": _REF.format(model="Row")}},
            REQUEST_ID: request_id,
        },
        "required": ["rows"],
        "additionalProperties": False,
    }
    found["paths"] |= {
        "/predict": _operation(
            "predict", "The probability that this customer leaves, and the prediction.", "Predict"
        ),
        "/predict/batch": _operation("batch", "The same for many customers at once.", "Batch"),
        "/explain": _operation(
            "explain",
            "What each feature adds to the probability of a typical customer.",
            "Explain",
            takes="Predict",
        ),
    }
    return found


def _operation(name: str, said: str, answers: str, takes: str = "") -> dict[str, Any]:
    return {
        "post": {
            "tags": ["model"],
            "summary": name.capitalize(),
            "description": said,
            "operationId": name,
            "requestBody": {"required": True, **_content(f"{takes or answers}Request")},
            "responses": {
                "200": {"description": "OK", **_content(f"{answers}Response")},
                **{
                    status: {"description": why, **_content("Problem")}
                    for status, why in _REFUSED.items()
                },
            },
        }
    }


def _content(model: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": _REF.format(model=model)}}}}
