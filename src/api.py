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
import gc
import os
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
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from uvicorn.supervisors import Multiprocess

from churn import cli, openapi, paths, server, workers
from churn.environment import Environment, read_environment
from churn.errors import Unreachable, UserError
from churn.openapi import Problem
from churn.serving import AliasFollower

PAGE = Path(__file__).parent / "churn" / "page.html"
MOST_WORKERS = 64

_COLLECT_AFTER = 50_000  # objects; Python's default is 700


def create_app() -> Starlette:
    """The application of one worker: its routes, and the thread that follows the alias.

    What scores stands in front of FastAPI, whose own handling of a request takes longer than the
    prediction. FastAPI has all other routes, the document and what is asked by a wrong method.
    """
    # What counts imports Prometheus's client, which looks at once where the workers' numbers go.
    from churn import traffic
    from churn.answers import Answers
    from churn.invocations import Invocations
    from churn.prediction_log import PredictionLog

    environment = read_environment()
    follower = AliasFollower(environment)
    log = PredictionLog(log_folder(environment))
    answers = Answers(follower, log, environment.BATCH_ROWS)
    invocations = Invocations(answers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        follower.start()
        # What lives as long as the process is not worth being looked at again and again; and what
        # one batch holds is garbage of no cycle.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER)
        yield
        await run_in_threadpool(follower.stop)
        log.close()

    async def metrics() -> Response:
        """Counts and times, of all workers."""
        return Response(traffic.exposition(), media_type=traffic.CONTENT_TYPE)

    scoring = [
        Route("/predict", answers.predict, methods=["POST"]),
        Route("/predict/batch", answers.predict_batch, methods=["POST"]),
        Route("/explain", answers.explain, methods=["POST"]),
        Route("/invocations", invocations.invoke, methods=["POST"]),
    ]
    app: FastAPI = FastAPIOffline(title="Churn model", version="1", redoc_url=None)
    app.state.follower, app.state.log = follower, log
    app.openapi = lambda: openapi.document(app, follower.served)  # type: ignore[method-assign]
    app.router.routes.extend(scoring)
    app.add_route("/ping", invocations.ping, methods=["GET"])
    app.add_route("/version", invocations.version, methods=["GET"])
    unready: dict[int | str, dict[str, Any]] = {503: {"model": Problem}}
    app.add_api_route("/health", health, tags=["probes"])
    app.add_api_route("/ready", ready, tags=["probes"], responses=unready)
    app.add_api_route("/startup", startup, tags=["probes"], responses=unready)
    app.add_api_route("/model", model, tags=["model"])
    app.add_api_route("/metrics", metrics, tags=["probes"], response_class=Response)
    app.add_api_route("/", page, include_in_schema=False)
    return Starlette(routes=[*scoring, Mount("/", app)], lifespan=lifespan)


def log_folder(environment: Environment) -> Path | None:
    """Where predictions are logged; None where they are not."""
    told = environment.PREDICTION_LOG
    return None if told == "off" else paths.ROOT / told


def problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


async def ready(request: Request) -> JSONResponse:
    """A model is loaded: 200, else 503."""
    follower: AliasFollower = request.app.state.follower
    if follower.served is None:
        return problem(503, str(follower.problem))
    said = {"status": "ready", "model_version": follower.served.version.number}
    if request.app.state.log.problem:
        said["prediction_log"] = request.app.state.log.problem
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


async def page() -> FileResponse:
    return FileResponse(PAGE, media_type="text/html")


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--workers", type=worker_count, default=1, help="processes (1)")
    arguments = parser.parse_args()
    environment = read_environment()
    listening = listen(environment.HOST, environment.PORT)
    try:
        server.connect(environment)
    except Unreachable as error:
        cli.step(f"{error}\nthe API starts without a model and looks again until it finds one")
    announce(environment)
    config = uvicorn.Config(
        "api:create_app",
        factory=True,
        access_log=False,
        log_level="warning",
        workers=arguments.workers,
    )
    if arguments.workers == 1:
        uvicorn.Server(config).run(sockets=[listening])
        return
    with TemporaryDirectory(prefix="churn-api-") as folder:
        os.environ |= {workers.FOLDER: folder, "PROMETHEUS_MULTIPROC_DIR": folder}
        Multiprocess(config, sockets=[listening]).run()


def worker_count(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_WORKERS}")
    return number


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
