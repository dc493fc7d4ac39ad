"""`rollback.py` beside a bare `import mlflow`, and how soon every API process follows.

    make bench

Each round puts version 2 into production after version 1, waits until the APIs serve it, and runs
both commands one after the other, the first one alternating. The clock of the APIs starts when
rollback.py has returned. Writes reports/bench/rollback.md.
"""

import platform
import statistics
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from conftest import Api, moved, running  # noqa: E402
from project import Project, checkout  # noqa: E402

from churn import cli, files  # noqa: E402

ROUNDS = 15
APIS = 3
COMMANDS = {
    "rollback": ("python", "src/rollback.py", "--reason", "measured"),
    "import": ("python", "-c", "import mlflow"),
    "httpx": ("python", "-c", "import httpx"),
}


def main() -> None:
    cli.parser(__doc__).parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    lags: list[float] = []
    with TemporaryDirectory(prefix="churn bench ") as folder:
        project = checkout(Path(folder))
        for _ in range(2):
            project.do("dvc", "repro", "-f")
        with ExitStack() as stack:
            apis = [stack.enter_context(running(project)) for _ in range(APIS)]
            for number in cli.progress(range(ROUNDS), "rounds", ROUNDS):
                moved(project, "promote 1", "promote 2")
                for api in apis:
                    api.wait_for_version("2")
                names = list(COMMANDS)
                for name in names if number % 2 else names[::-1]:
                    times[name].append(timed(project, name))
                    if name == "rollback":
                        lags += lag(apis)
        project.do("python", "src/stop_mlflow.py")
    report = table(times, lags)
    files.write_text(ROOT / "reports" / "bench" / "rollback.md", report)
    cli.step(report)


def timed(project: Project, name: str) -> float:
    start = time.perf_counter()
    project.do(*COMMANDS[name])
    return time.perf_counter() - start


def lag(apis: list[Api]) -> list[float]:
    """For each API the seconds from now until it answers with version 1."""
    start = time.perf_counter()
    waiting, found = list(apis), []
    while waiting:
        for api in list(waiting):
            if api.client.get("/ready").json()["model_version"] == "1":
                found.append(time.perf_counter() - start)
                waiting.remove(api)
        time.sleep(0.005)
    return found


def table(times: dict[str, list[float]], lags: list[float]) -> str:
    rollback, bare, httpx = (statistics.median(times[name]) for name in COMMANDS)
    ratios = [ours / its for ours, its in zip(times["rollback"], times["import"], strict=True)]
    today = datetime.now(UTC).date()
    return f"""\
# Rollback, measured on {today}

{psutil.cpu_count()} cores, Python {platform.python_version()}, packages byte-compiled, {ROUNDS}
rounds beside {APIS} API processes; medians.

| | |
|---|---|
| `python src/rollback.py`, its record included | {rollback:.2f} s |
| `python -c "import mlflow"` | {bare:.2f} s |
| `python -c "import httpx"` | {httpx:.2f} s |
| ratio of the first two (lowest and highest round) | {rollback / bare:.2f} \
({min(ratios):.2f} to {max(ratios):.2f}) |
| an API serves the old version, after rollback.py has returned | {statistics.median(lags):.2f} s |
| … the slowest of {len(lags)} | {max(lags):.2f} s |
"""


if __name__ == "__main__":
    cli.run(main)
