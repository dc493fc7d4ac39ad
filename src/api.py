"""Serve the version that the alias `production` points to, at HOST:PORT.

    python src/api.py [--workers N]

    POST /predict          one customer's features → probability and prediction
    POST /predict/batch    the same for many customers
    POST /explain          what each feature adds to the probability
    POST /invocations      the same questions as a client of `mlflow models serve` asks them
    GET  /model            what is served, what should be served, and what made it
    GET  /metrics          counts and times, for Prometheus
    GET  /health /ready /startup /ping     probes
    GET  /                 a page to try it; /docs describes the fields

When the alias moves, the API follows within about RELOAD_SECONDS, without a restart.
"""

import argparse
import asyncio
import gc
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from churn import cli, openapi, paths, server, traffic, workers
from churn.answers import Answers
from churn.connection import Connection, waiting_room
from churn.environment import Environment, read_environment
from churn.errors import SettingsError, Unreachable, UserError
from churn.front import Endpoint, Front
from churn.invocations import Invocations
from churn.keys import NONE, Keys
from churn.openapi import Problem
from churn.prediction_log import PredictionLog
from churn.rest import is_loopback
from churn.serving import AliasFollower

PAGE = Path(__file__).parent / "churn" / "page.html"
MOST_WORKERS = 64
BACKLOG = 2048

_OTHER_FILES = 100
_COLLECT_AFTER = 50_000  # objects; Python's default is 700


def create_app() -> ASGIApp:
    """The application of one worker: its routes, and the thread that follows the alias."""
    environment = read_environment()
    follower = AliasFollower(environment)
    log = PredictionLog(paths.folder(environment.PREDICTION_LOG), environment.PREDICTION_LOG_DAYS)
    keys = Keys(environment)
    answers = Answers(follower, log, environment)
    invocations = Invocations(answers)
    app: FastAPI = FastAPIOffline(
        title="Churn model", version="1", redoc_url=None, lifespan=lifespan, redirect_slashes=False
    )
    front = Front(environment, keys, scoring(environment, answers, invocations), app)
    app.state.follower, app.state.log, app.state.keys = follower, log, keys
    app.state.front = front
    app.openapi = lambda: openapi.document(  # type: ignore[method-assign]
        app, follower.served, environment, keys.wanted
    )
    add_routes(app, invocations)
    if environment.CORS_ORIGINS:
        return CORSMiddleware(
            front,
            allow_origins=environment.CORS_ORIGINS,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-api-key"],
        )
    return front


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What begins and ends with the process."""
    waiting_room().watch(asyncio.get_running_loop().call_later)
    app.state.follower.start()
    # What lives as long as the process is not worth being looked at again and again; and what one
    # batch holds is garbage of no cycle.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    yield
    app.state.front.close()
    await run_in_threadpool(app.state.follower.stop)
    app.state.log.close()


def scoring(
    environment: Environment, answers: Answers, invocations: Invocations
) -> dict[str, Endpoint]:
    """What scores, by its path: a POST that the front answers itself."""
    row, batch = environment.BODY_BYTES, environment.BATCH_BYTES
    return {
        path: Endpoint(answer, most_bytes, traffic.Endpoint(path))
        for path, answer, most_bytes in (
            ("/predict", answers.predict, row),
            ("/predict/batch", answers.predict_batch, batch),
            ("/explain", answers.explain, row),
            ("/invocations", invocations.invoke, batch),
        )
    }


def add_routes(app: FastAPI, invocations: Invocations) -> None:
    """All that is asked by GET."""
    probe: dict[str, Any] = {"tags": ["probes"]}
    unready = probe | {"response_model": dict[str, str], "responses": {503: {"model": Problem}}}
    text = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    app.add_route("/ping", invocations.ping, methods=["GET"])
    app.add_route("/version", invocations.version, methods=["GET"])
    app.add_api_route("/health", health, **probe)
    app.add_api_route("/ready", ready, **unready)
    app.add_api_route("/startup", startup, **unready)
    app.add_api_route("/model", model, tags=["model"])
    app.add_api_route("/metrics", metrics, response_class=Response, **probe | {"responses": text})
    app.add_api_route("/", page, include_in_schema=False)


def problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


async def ready(request: Request) -> JSONResponse:
    """A model is loaded: 200, else 503."""
    follower: AliasFollower = request.app.state.follower
    # Where callers need a key, who has none is not told where MLflow is.
    why = "GET /model tells why" if request.app.state.keys.wanted else str(follower.problem)
    if follower.served is None:
        return problem(503, why)
    said = {"status": "ready", "model_version": follower.served.version.number}
    if follower.last_known_good:
        said["last_known_good"] = why
    for name, trouble in (
        ("prediction_log", request.app.state.log.problem),
        ("model_cache", follower.cache_problem),
        ("keys", request.app.state.keys.problem),
    ):
        if trouble:
            said[name] = trouble
    return JSONResponse(said)


async def startup(request: Request) -> JSONResponse:
    """The process has looked for its model once, and found one or not: 200, else 503."""
    if not request.app.state.follower.looked:
        return problem(503, "starting")
    return JSONResponse({"status": "started"})


async def model(request: Request) -> dict[str, Any]:
    """What is served, what should be served, and the lineage of the former."""
    state: dict[str, Any] = request.app.state.follower.state()
    return state


async def metrics() -> Response:
    """Counts and times, of all workers."""
    return Response(traffic.exposition(), media_type=traffic.CONTENT_TYPE)


async def page() -> FileResponse:
    return FileResponse(PAGE, media_type="text/html")


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--workers", type=worker_count, default=1, help="processes (1)")
    arguments = parser.parse_args()
    environment = read_environment()
    check_callers(environment)
    listening = listen(environment.HOST, environment.PORT)
    allow_open_files(environment.CONNECTIONS)
    try:
        server.connect(environment)
    except Unreachable as error:
        cli.step(f"{error}\nthe API starts all the same, and looks again until MLflow answers")
    announce(environment)
    config = uvicorn.Config(
        "api:create_app",
        factory=True,
        http=Connection,
        access_log=False,
        log_level="error",
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=environment.STOP_SECONDS,
        workers=arguments.workers,
    )
    if arguments.workers == 1:
        uvicorn.Server(config).run(sockets=[listening])
        return
    with TemporaryDirectory(prefix="churn-api-") as folder:
        os.environ |= {workers.FOLDER: folder, "PROMETHEUS_MULTIPROC_DIR": folder}
        Multiprocess(config, sockets=[listening]).run()


def check_callers(environment: Environment) -> None:
    """Raises SettingsError where keys cannot be read, or where others could call without one."""
    keys = Keys(environment)
    if keys.wanted or environment.API_KEYS == NONE or is_loopback(f"http://{at(environment)}"):
        return
    raise SettingsError(
        f"HOST = {environment.HOST}: others could call the API without a key. Set API_KEYS or"
        f" API_KEYS_FILE (name:key), or API_KEYS={NONE} if anybody may call"
    )


def allow_open_files(connections: int) -> None:
    """Each connection is an open file, and many systems begin with 1,024 for a process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def worker_count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_WORKERS}")
    return number


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on. Raises UserError where the address cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another: PORT={port + 1}"
        ) from None


def at(environment: Environment) -> str:
    """HOST:PORT as an address has it."""
    shown = f"[{environment.HOST}]" if ":" in environment.HOST else environment.HOST
    return f"{shown}:{environment.PORT}"


def announce(environment: Environment) -> None:
    url = f"http://{at(environment)}"
    cli.step(f"API     {url}  (try it in a browser; {url}/docs describes it)")
    cli.step(f"MLflow  {environment.MLFLOW_TRACKING_URI}")


if __name__ == "__main__":
    cli.run(main)
