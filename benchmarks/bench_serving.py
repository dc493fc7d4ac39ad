"""The API beside what people would otherwise serve with, and `score.py` beside pandas.

    make bench
    python benchmarks/bench_serving.py --only http|files    one half

HTTP: for each estimator this API with everything on, and `mlflow models serve` of the same version;
and beside them a FastAPI app with a constant answer and the same request and response models, and a
bare Starlette endpoint. Each server is one process on the first core, wrk (Debian's package) on the
second, and all of a round run one after the other. Files: 1,000,000 rows from CSV to CSV.
Writes reports/bench/serving.md, serving.png and scoring.md.
"""

import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from conftest import moved  # noqa: E402
from project import Project, checkout, free_port, local_environment  # noqa: E402

from churn import cli, files  # noqa: E402
from churn.errors import UserError  # noqa: E402

ROUNDS, SECONDS = 3, 4
CONNECTIONS = (1, 16, 64)
ESTIMATORS = ("logistic_regression", "hist_gradient_boosting", "random_forest")
ROW = {
    "tenure_months": 3,
    "num_complaints": 2,
    "avg_session_minutes": 12.5,
    "plan_type": "Basic",
    "region": "NA",
}
BATCH = 1000
FILE_ROWS = 1_000_000
CHILD = ROOT / "benchmarks" / "bare.py"


@dataclass(frozen=True)
class Load:
    """What wrk measured: requests a second, and milliseconds."""

    rate: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Memory:
    """Resident MB of the process that answers, and of all processes of the server."""

    worker: float
    all: float


@dataclass(frozen=True)
class Server:
    """A server to be measured: its name, how it is started, and what is asked."""

    name: str
    command: tuple[str, ...]
    route: str
    body: str


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--only", choices=["http", "files"])
    only = parser.parse_args().only
    if shutil.which("wrk") is None:
        raise UserError("wrk is not installed: apt-get install wrk")
    with TemporaryDirectory(prefix="churn bench ") as folder:
        project = checkout(Path(folder))
        for estimator in ESTIMATORS:
            project.do("dvc", "exp", "run", "-S", f"train.model={estimator}")
        try:
            if only != "files":
                report(project, "serving.md", http(project))
            if only != "http":
                report(project, "scoring.md", scoring(project))
        finally:
            project.do("python", "src/stop_mlflow.py")


def report(project: Project, name: str, text: str) -> None:
    del project
    files.write_text(ROOT / "reports" / "bench" / name, text)
    cli.step(text)


# HTTP


def http(project: Project) -> str:
    """Every server in every round, one after the other."""
    loads: dict[tuple[str, int], list[Load]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[Memory]] = defaultdict(list)
    batches: dict[str, list[float]] = defaultdict(list)
    work = [(number, version) for number in range(ROUNDS) for version in range(3)]
    for number, version in cli.progress(work, "servers", len(work)):
        moved(project, f"promote {version + 1}")
        for server in servers(ESTIMATORS[version], str(version + 1), bare=version == number % 3):
            with started(project, server) as (url, seconds, process):
                starts[server.name].append(seconds)
                for connections in CONNECTIONS:
                    loads[server.name, connections].append(load(url, server.body, connections))
                if server.route == "/predict" and "this API" in server.name:
                    batches[server.name].append(batch(url))
                memory[server.name].append(held(process))
    plot(loads)
    return http_table(loads, starts, memory, batches)


def servers(estimator: str, version: str, bare: bool) -> list[Server]:
    python, row = sys.executable, json.dumps(ROW)
    serve = ("mlflow", "models", "serve", "--env-manager", "local", "--workers", "1")
    found = [
        Server(f"this API, {estimator}", (python, "src/api.py"), "/predict", row),
        Server(
            f"mlflow models serve, {estimator}",
            (python, "-m", *serve, "--model-uri", f"models:/churn_model/{version}"),
            "/invocations",
            json.dumps({"dataframe_records": [ROW]}),
        ),
    ]
    if bare:
        found += [
            Server(
                "FastAPI constant", (python, str(CHILD), "fastapi"), "/predict", json.dumps(ROW)
            ),
            Server("Starlette", (python, str(CHILD), "starlette"), "/predict", row),
        ]
    return found


@contextmanager
def started(project: Project, server: Server) -> Iterator[tuple[str, float, psutil.Process]]:
    """The server on the first core: its address, the seconds to its first answer, its process."""
    port = str(free_port())
    command = ["taskset", "-c", "0", *server.command]
    if "mlflow" in server.command:
        command += ["--port", port]
    environment = local_environment(
        MLFLOW_TRACKING_URI=project.mlflow_uri, PORT=port, OMP_NUM_THREADS="1"
    )
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=project.root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}{server.route}"
    headers = {"content-type": "application/json"}
    with httpx.Client(timeout=30) as client:
        while True:
            try:
                if client.post(url, content=server.body, headers=headers).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.01)
            if process.poll() is not None or time.perf_counter() - begin > 120:
                raise UserError(f"{server.name} does not answer at {url}")
    seconds = time.perf_counter() - begin
    try:
        yield url, seconds, psutil.Process(process.pid)
    finally:
        # All of it, or the next server starts beside what is left of this one.
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, 15)
        process.wait(30)
        psutil.wait_procs(family, 30)


def held(process: psutil.Process) -> Memory:
    """What the server holds: the largest of its processes is the one that answers."""
    family = [process, *process.children(recursive=True)]
    sizes = [each.memory_info().rss / 1e6 for each in family]
    return Memory(max(sizes), sum(sizes))


def load(url: str, body: str, connections: int) -> Load:
    """wrk on the second core, against the server on the first."""
    with TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(
            'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            f"wrk.body = [[{body}]]\n"
        )
        command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s"]
        command += ["--latency", "--timeout", "30s", "-s", str(script), url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout
    if "Non-2xx" in said:
        raise UserError(f"{url} did not answer all requests: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert rate
    return Load(float(rate[1]), _milliseconds(said, "50%"), _milliseconds(said, "99%"))


def _milliseconds(said: str, line: str) -> float:
    found = re.search(rf"{line}\s+([\d.]+)(us|ms|s|m)", said)
    assert found
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[found[2]]


def batch(url: str) -> float:
    """Rows a second of /predict/batch, one caller, rows of all kinds."""
    drawn = random.Random(1)
    rows = [
        {
            "tenure_months": drawn.randrange(72),
            "num_complaints": drawn.randrange(5),
            "avg_session_minutes": round(drawn.uniform(5, 60), 2),
            "plan_type": drawn.choice(["Basic", "Standard", "Premium"]),
            "region": drawn.choice(["APAC", "EU", "LATAM", "NA"]),
        }
        for _ in range(BATCH)
    ]
    body = json.dumps({"rows": rows})
    with httpx.Client() as client:
        times = []
        for _ in range(60):
            begin = time.perf_counter()
            client.post(f"{url}/batch", content=body).raise_for_status()
            times.append(time.perf_counter() - begin)
    return BATCH / statistics.median(times[10:])


def http_table(
    loads: dict[tuple[str, int], list[Load]],
    starts: dict[str, list[float]],
    memory: dict[str, list[Memory]],
    batches: dict[str, list[float]],
) -> str:
    names = list(starts)
    columns = "".join(f" {c} requests/s | p50 ms | p99 ms |" for c in CONNECTIONS)
    lines = [
        f"| | start s | MB, all processes |{columns}",
        "|---|---|---|" + "---|" * 3 * len(CONNECTIONS),
    ]
    for name in names:
        cells = [
            f"{_median(starts[name]):.2f}",
            f"{worker(memory[name]):.0f}, {whole(memory[name]):.0f}",
        ]
        for connections in CONNECTIONS:
            found = loads[name, connections]
            cells += [
                f"{_median([each.rate for each in found]):,.0f}",
                f"{_median([each.p50 for each in found]):.2f}",
                f"{_median([each.p99 for each in found]):.1f}",
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    today = datetime.now(UTC).date()
    return f"""\
# Serving, measured on {today}

{psutil.cpu_count()} cores, Python {platform.python_version()}, packages byte-compiled; medians of
{ROUNDS} rounds, {SECONDS} s each; the server on one core, wrk on the other. This API with
everything on: validation, request ids, versions, counters, histogram, prediction log.

{chr(10).join(lines)}

At 64 connections:

{ratios(loads, starts, memory)}

`/predict/batch` of {BATCH:,} rows, rows a second: {batch_line(batches)}
"""


def ratios(
    loads: dict[tuple[str, int], list[Load]],
    starts: dict[str, list[float]],
    memory: dict[str, list[Memory]],
) -> str:
    most = CONNECTIONS[-1]
    rate = {name: _median([each.rate for each in loads[name, most]]) for name in starts}
    p99 = {name: _median([each.p99 for each in loads[name, most]]) for name in starts}
    bare = "FastAPI constant"
    lines = [
        "| | requests/s against `mlflow models serve` | … against the FastAPI constant"
        " | p99 against the FastAPI constant | start against `mlflow models serve`"
        " | memory of a worker, of all processes |",
        "|---|---|---|---|---|---|",
    ]
    for estimator in ESTIMATORS:
        ours, theirs = f"this API, {estimator}", f"mlflow models serve, {estimator}"
        lines.append(
            f"| {estimator} | {rate[ours] / rate[theirs]:.0f}× | {rate[ours] / rate[bare]:.2f}×"
            f" | {p99[ours] / p99[bare]:.2f}×"
            f" | {_median(starts[ours]) / _median(starts[theirs]):.2f}×"
            f" | {worker(memory[ours]) / worker(memory[theirs]):.2f}×,"
            f" {whole(memory[ours]) / whole(memory[theirs]):.2f}× |"
        )
    return "\n".join(lines)


def batch_line(batches: dict[str, list[float]]) -> str:
    return ", ".join(
        f"{name.removeprefix('this API, ')} {_median(rates):,.0f}"
        for name, rates in batches.items()
    )


def worker(found: list[Memory]) -> float:
    return _median([each.worker for each in found])


def whole(found: list[Memory]) -> float:
    return _median([each.all for each in found])


def _median(values: list[float]) -> float:
    return statistics.median(values)


def plot(loads: dict[tuple[str, int], list[Load]]) -> None:
    """Requests a second at 64 connections, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    most = CONNECTIONS[-1]
    rates = {
        name: _median([each.rate for each in found])
        for (name, connections), found in loads.items()
        if connections == most
    }
    names = sorted(rates, key=lambda name: rates[name])
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    colours = ["#1f5fa8" if name.startswith("this API") else "#b0b0b0" for name in names]
    bars = axes.barh(names, [rates[name] for name in names], color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=4)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel(f"requests a second at {most} connections, one core (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT / "reports" / "bench" / "serving.png", dpi=110)


# Files


def scoring(project: Project) -> str:
    """score.py, pandas with the pipeline, and Polars with the bare scorer, on the same file."""
    table = project.root / "big.csv"
    project.do(sys.executable, str(CHILD), "table", str(table), str(FILE_ROWS))
    out = project.root / "scored.csv"
    lines = [
        "| | score.py s | pandas + pipeline s | ratio | Polars reads, writes s | bare scorer s"
        " | score.py against their sum | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, estimator in enumerate(ESTIMATORS, start=1):
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(ROUNDS):
            ours, peak = timed(
                project, "src/score.py", str(table), str(out), "--version", str(number)
            )
            times["ours"].append(ours)
            times["peak"].append(peak)
            for what in ("pandas", "polars"):
                said = project.do(
                    sys.executable, str(CHILD), what, str(table), str(out), str(number)
                )
                for name, seconds in json.loads(said.splitlines()[-1]).items():
                    times[name].append(seconds)
        t = {name: _median(values) for name, values in times.items()}
        lines.append(
            f"| {estimator} | {t['ours']:.2f} | {t['pandas']:.2f} | {t['pandas'] / t['ours']:.1f}×"
            f" | {t['read_write']:.2f} | {t['scorer']:.2f}"
            f" | {t['ours'] / (t['read_write'] + t['scorer']):.2f}× | {t['peak']:.0f} |"
        )
    today = datetime.now(UTC).date()
    return f"""\
# Batch scoring, measured on {today}

{psutil.cpu_count()} cores, Python {platform.python_version()}, packages byte-compiled; medians of
{ROUNDS} rounds. {FILE_ROWS:,} rows and 5 features from CSV to CSV; whole processes, imports and the
download of the model included, but for Polars and the bare scorer on the ready matrix.

{chr(10).join(lines)}
"""


def timed(project: Project, *command: str) -> tuple[float, float]:
    """The seconds that a script takes, and its peak of resident memory in MB."""
    begin = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, *command],
        cwd=project.root,
        env=local_environment(MLFLOW_TRACKING_URI=project.mlflow_uri),
        stdout=subprocess.DEVNULL,
    )
    peak = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss / 1e6)
        except psutil.Error:
            break
        time.sleep(0.02)
    if process.wait():
        raise UserError(f"{' '.join(command)} failed")
    return time.perf_counter() - begin, peak


if __name__ == "__main__":
    cli.run(main)
