"""adopt_data.py and prepare_data.py on 1,000,000 rows × 20 columns, beside what merely reads them.

    python benchmarks/bench_tables.py

In each round, one after the other: adopt_data.py --dry-run, pandas' read_csv + describe + nunique,
prepare_data.py, and Polars reading the file, dropping duplicates and writing it. This project's
scripts are timed as whole processes, with their imports; pandas and Polars after their imports.
Writes reports/bench/tables.md.
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from churn import cli, files  # noqa: E402

ROWS = 1_000_000
DUPLICATES = 500
ROUNDS = 5
PANDAS = """\
import sys, time
import pandas as pd
start = time.perf_counter()
table = pd.read_csv(sys.argv[1])
table.describe(include="all")
table.nunique()
print(time.perf_counter() - start)
"""
POLARS = """\
import sys, time
import polars as pl
start = time.perf_counter()
pl.read_csv(sys.argv[1]).unique(maintain_order=True).write_csv(sys.argv[2])
print(time.perf_counter() - start)
"""


def main() -> None:
    cli.parser(__doc__).parse_args()
    seconds: dict[str, list[float]] = {"adopt": [], "pandas": [], "prepare": [], "polars": []}
    memory = {"adopt": 0, "prepare": 0}
    with TemporaryDirectory(prefix="churn bench ") as folder:
        project = Path(folder)
        for name in ("src", "data", "params.yaml"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, project / name)
        table = project / "data" / "raw.csv"
        customers().write_csv(table)
        adopt = ("src/adopt_data.py", str(project / "table.csv"), "--target", "churn")
        shutil.copy(table, project / "table.csv")
        ran(project, *adopt)
        for _ in cli.progress(range(ROUNDS), "rounds", ROUNDS):
            for name, command in (
                ("adopt", (*adopt, "--dry-run")),
                ("prepare", ("src/prepare_data.py",)),
            ):
                taken, peak = ran(project, *command)
                seconds[name].append(taken)
                memory[name] = max(memory[name], peak)
            seconds["pandas"].append(printed(project, PANDAS, table))
            seconds["polars"].append(printed(project, POLARS, table, project / "out.csv"))
    report = written(seconds, memory)
    files.write_text(ROOT / "reports" / "bench" / "tables.md", report)
    cli.step(report)


def customers() -> pl.DataFrame:
    """A table of 8 numbers, 6 whole numbers, 5 categories and a target, with some rows twice."""
    rng = np.random.default_rng(0)
    rows = ROWS - DUPLICATES
    hidden = rng.normal(size=rows)
    columns: dict[str, np.ndarray] = {}
    for number in range(8):
        pull = 3 * hidden if number < 3 else 0
        columns[f"number_{number}"] = np.round(rng.normal(50, 15, rows) + pull, 3)
    for number, high in enumerate((5, 73, 1_000, 100_000, 12, 300)):
        columns[f"whole_{number}"] = rng.integers(0, high, rows)
    cities = [f"city_{number}" for number in range(200)]
    for number, values in enumerate(
        (["a", "b", "c"], ["Yes", "No"], ["EU", "NA", "APAC", "LATAM"], cities, ["x", "y"])
    ):
        columns[f"category_{number}"] = rng.choice(np.array(values), rows)
    columns["churn"] = (rng.random(rows) < 1 / (1 + np.exp(1 - hidden))).astype(int)
    table = pl.DataFrame(columns)
    return pl.concat([table, table.head(DUPLICATES)])


def ran(project: Path, *command: str) -> tuple[float, int]:
    """Seconds and peak resident bytes of one of this project's scripts."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=project, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit


def printed(project: Path, code: str, *arguments: Path) -> float:
    """The seconds that a piece of code prints that it took."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return float(done.stdout)


def written(seconds: dict[str, list[float]], memory: dict[str, int]) -> str:
    def row(ours: str, said: str, theirs: str, what: str) -> str:
        ratios = sorted(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))
        mine, other = statistics.median(seconds[ours]), statistics.median(seconds[theirs])
        return (
            f"| {said} | {mine:.1f} | {what} | {other:.1f} | {statistics.median(ratios):.2f}"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {memory[ours] / 1e6:,.0f} MB |\n"
        )

    return (
        f"# Big tables, measured on {datetime.now(UTC).date()}\n\n"
        f"{psutil.cpu_count()} cores, Python {platform.python_version()},"
        f" {ROWS:,} rows × 20 columns of CSV, median of {ROUNDS} rounds side by side.\n\n"
        "| | seconds | beside | seconds | ratio (lowest and highest round) | peak memory |\n"
        "|---|---|---|---|---|---|\n"
        + row("adopt", "`adopt_data.py --dry-run`", "pandas", "pandas read_csv, describe, nunique")
        + row("prepare", "`prepare_data.py`", "polars", "Polars read, drop duplicates, write")
    )


if __name__ == "__main__":
    cli.run(main)
