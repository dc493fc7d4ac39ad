"""Serve the version that the alias `production` points to, at HOST:PORT.

    python src/api.py

    POST /predict    one customer's features → probability and prediction
    GET  /model      what is served, what should be served, and what made it
    GET  /health /ready /startup     probes
    GET  /           a page to try it; /docs describes the fields

When the alias moves, the API follows within about RELOAD_SECONDS, without a restart.
"""

import json
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, ValidationError

from churn import cli, server
from churn.column import Value
from churn.environment import Environment, read_environment
from churn.errors import Unreachable, UserError
from churn.registry import MODEL
from churn.schema import REQUEST_ID
from churn.serving import AliasFollower, Served

MAX_BODY_BYTES = 64 * 1024
MAX_DRAINED_BYTES = 16 * 1024 * 1024
PAGE = Path(__file__).parent / "churn" / "page.html"


class PredictResponse(BaseModel):
    """The answer to POST /predict."""

    model_config = ConfigDict(protected_namespaces=())

    request_id: str
    prediction: int
    probability: float
    threshold: float
    model_name: str
    model_version: str
    warnings: list[str]


class Problem(BaseModel):
    """Why a request was not answered: one line, or one entry for each field that is wrong."""

    detail: str | list[dict[str, Any]]


def create_app(environment: Environment | None = None) -> FastAPI:
    """The application: its routes and the thread that follows the alias while it runs."""
    follower = AliasFollower(environment or read_environment())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        follower.start()
        yield
        await run_in_threadpool(follower.stop)

    app: FastAPI = FastAPIOffline(
        title="Churn model", version="1", lifespan=lifespan, redoc_url=None
    )
    app.state.follower = follower
    app.openapi = lambda: openapi(app, follower)  # type: ignore[method-assign]
    app.add_route("/predict", predict, methods=["POST"])
    app.add_api_route("/health", health, tags=["probes"])
    app.add_api_route("/ready", ready, tags=["probes"], responses={503: {"model": Problem}})
    app.add_api_route("/startup", startup, tags=["probes"], responses={503: {"model": Problem}})
    app.add_api_route("/model", model, tags=["model"])
    app.add_api_route("/", page, include_in_schema=False)
    return app


async def predict(request: Request) -> Response:
    """Validate one row by the served model's own schema, score it, answer."""
    served: Served | None = request.app.state.follower.served
    if served is None:
        return problem(503, f"no model is served: {request.app.state.follower.problem}")
    body = await read_body(request)
    if body is None:
        return problem(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes")
    try:
        row = served.request_model.model_validate_json(body).model_dump(by_alias=True)
    except ValidationError as error:
        return problem(422, [wrong_field(detail) for detail in error.errors(include_url=False)])
    request_id = row.pop(REQUEST_ID) or uuid.uuid4().hex
    return JSONResponse((await run_in_threadpool(answer, served, row, request_id)).model_dump())


def answer(served: Served, row: dict[str, Value], request_id: str) -> PredictResponse:
    schema = served.scorer.schema
    probability = served.scorer.score([row])[0]
    return PredictResponse(
        request_id=request_id,
        prediction=int(probability >= schema.threshold),
        probability=probability,
        threshold=schema.threshold,
        model_name=MODEL,
        model_version=served.version.number,
        warnings=schema.unfamiliar(row),
    )


async def read_body(request: Request) -> bytes | None:
    """The body, or None if it is too large.

    A body that is too large is read to its end and thrown away, up to a limit: a client that is
    still sending when the connection closes would never see why.
    """
    kept, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            kept.append(chunk)
        elif size > MAX_DRAINED_BYTES:
            break
    return b"".join(kept) if size <= MAX_BODY_BYTES else None


def wrong_field(detail: Any) -> dict[str, Any]:
    """One entry of a 422: where, what is wrong with which value, and pydantic's name for it."""
    match detail["type"]:
        case "missing":
            said = "is missing"
        case "extra_forbidden":
            said = "is not a feature of this model"
        case "value_error" | "json_invalid":
            said = str(detail["msg"]).removeprefix("Value error, ")
        case _:
            said = f"{detail['msg']}, not {json.dumps(detail['input'], default=str)[:60]}"
    return {"loc": ["body", *detail["loc"]], "msg": said, "type": detail["type"]}


def problem(status: int, detail: str | list[dict[str, Any]]) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


async def ready(request: Request) -> JSONResponse:
    """A model is loaded: 200, else 503."""
    follower: AliasFollower = request.app.state.follower
    if follower.served is None:
        return problem(503, str(follower.problem))
    return JSONResponse({"status": "ready", "model_version": follower.served.version.number})


async def startup(request: Request) -> JSONResponse:
    """The process has looked for its model once, and found one or not: 200, else 503."""
    if not request.app.state.follower.looked:
        return problem(503, "starting")
    return JSONResponse({"status": "started"})


async def model(request: Request) -> dict[str, Any]:
    """What is served, what should be served, and the lineage of the former."""
    state: dict[str, Any] = request.app.state.follower.state()
    return state


async def page() -> FileResponse:
    return FileResponse(PAGE, media_type="text/html")


def openapi(app: FastAPI, follower: AliasFollower) -> dict[str, Any]:
    """The document of this moment: /predict takes what the served version takes."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    served = follower.served
    row: dict[str, Any] = {"type": "object"}
    if served is not None:
        row = served.request_model.model_json_schema(by_alias=True)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {"PredictRequest": row, "PredictResponse": PredictResponse.model_json_schema()}
    schemas |= {"Problem": Problem.model_json_schema()}
    refused = {
        str(status): {"description": why, **_content("Problem")}
        for status, why in {
            413: "The body is too large",
            422: "A field is missing, unknown or wrong",
            503: "No model is served",
        }.items()
    }
    document["paths"]["/predict"] = {
        "post": {
            "tags": ["model"],
            "summary": "Predict",
            "description": "The probability that this customer leaves, and the prediction.",
            "operationId": "predict",
            "requestBody": {"required": True, **_content("PredictRequest")},
            "responses": {"200": {"description": "OK", **_content("PredictResponse")}, **refused},
        }
    }
    return document


def _content(name: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


def main() -> None:
    cli.parser(__doc__).parse_args()
    environment = read_environment()
    listening = listen(environment.HOST, environment.PORT)
    try:
        server.connect(environment)
    except Unreachable as error:
        cli.step(f"{error}\nthe API starts without a model and looks again until it finds one")
    announce(environment)
    config = uvicorn.Config(create_app(environment), access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on. Raises UserError where the address cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another: PORT={port + 1}"
        ) from None


def announce(environment: Environment) -> None:
    shown = f"[{environment.HOST}]" if ":" in environment.HOST else environment.HOST
    url = f"http://{shown}:{environment.PORT}"
    cli.step(f"API     {url}  (try it in a browser; {url}/docs describes it)")
    cli.step(f"MLflow  {environment.MLFLOW_TRACKING_URI}")


if __name__ == "__main__":
    cli.run(main)
