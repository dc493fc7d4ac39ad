"""`dvc repro` on a fresh clone, beside the lab's way of doing the same.

    make bench

Both run the same stages on the same data with the same results. The lab's way has two habits put
back: every script imports everything at its top, and MLflow infers the model's requirements. Each
round makes two fresh checkouts with a server each, started before the clock, and runs them one
after the other, the first one alternating. Writes reports/bench/pipeline.md.
"""

import platform
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from project import Project, checkout, servers  # noqa: E402

from churn import cli, files  # noqa: E402

ROUNDS = 5
STAGES = ("ingest_data", "prepare_data", "train", "evaluate")
EVERYTHING = """\
import json, os
import joblib
import matplotlib.pyplot as plt
import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.pipeline import Pipeline
"""


def main() -> None:
    cli.parser(__doc__).parse_args()
    times: dict[str, list[float]] = {"this": [], "lab": [], "again": []}
    memory = 0
    for number in cli.progress(range(ROUNDS), "rounds", ROUNDS):
        for way in ("this", "lab") if number % 2 else ("lab", "this"):
            with TemporaryDirectory(prefix="churn bench ") as folder:
                project = checkout(Path(folder))
                if way == "lab":
                    put_the_habits_back(project)
                project.do("python", "src/start_mlflow.py")
                times[way].append(timed(project))
                if way == "this":
                    times["again"].append(timed(project))
                    memory = max(memory, server_memory(project))
                project.do("python", "src/stop_mlflow.py")
    report = table(times, memory)
    files.write_text(ROOT / "reports" / "bench" / "pipeline.md", report)
    cli.step(report)


def put_the_habits_back(project: Project) -> None:
    for stage in STAGES:
        script = project.root / "src" / f"{stage}.py"
        script.write_text(EVERYTHING + script.read_text())
    given = 'pip_requirements=[f"{name}=={installed_version(name)}" for name in packages],'
    project.edit("src/churn/tracking.py", given, "")


def timed(project: Project) -> float:
    start = time.perf_counter()
    project.do("dvc", "repro")
    return time.perf_counter() - start


def server_memory(project: Project) -> int:
    """Resident bytes of the server's processes, after a training."""
    return sum(process.memory_info().rss for process in servers(project))


def table(times: dict[str, list[float]], memory: int) -> str:
    this, lab, again = (statistics.median(times[way]) for way in ("this", "lab", "again"))
    ratios = [mine / labs for mine, labs in zip(times["this"], times["lab"], strict=True)]
    mine, labs = min(times["this"]), min(times["lab"])
    today = datetime.now(UTC).date()
    return f"""\
# The pipeline, measured on {today}

{psutil.cpu_count()} cores, Python {platform.python_version()}, packages byte-compiled,
median of {ROUNDS} rounds.

| | seconds |
|---|---|
| `dvc repro` on a fresh clone, this project | {this:.1f} |
| … the lab's way | {lab:.1f} |
| ratio (lowest and highest round) | {this / lab:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |
| quickest rounds, and their ratio | {mine:.1f}, {labs:.1f}, {mine / labs:.2f} |
| `dvc repro` with nothing to do | {again:.1f} |

The MLflow server held {memory / 1e6:.0f} MB after a training.
"""


if __name__ == "__main__":
    cli.run(main)
