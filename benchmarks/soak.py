"""Everything that may go wrong in a year, in ten minutes: is any caller told the wrong thing?

    make soak
    SOAK_SECONDS=60 python benchmarks/soak.py

64 connections ask an API of two workers without a break, and check each answer against what the
version that it names says to that row. Meanwhile the alias moves every three seconds, MLflow is
killed and started again twice, versions that are corrupt or malicious are put into production by
force, and a worker is killed. At its end the prediction log is held against what was answered.
Writes reports/bench/soak.md; ends with 1 where anything was missed.
"""

import asyncio
import hashlib
import itertools
import os
import pickle  # noqa: TID251 - to write one, as an attacker would
import platform
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import orjson
import polars as pl
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from conftest import moved, registry_of, running, wait_until  # noqa: E402
from crowd import Crowd  # noqa: E402
from project import Project, checkout, servers  # noqa: E402

from churn import cli, files, scorer  # noqa: E402
from churn.errors import UserError  # noqa: E402
from churn.registry import EXPERIMENT, MODEL, PRODUCTION, Registry, Tag  # noqa: E402
from churn.request import RowReader  # noqa: E402

SECONDS = 600
RATE = 1000  # requests a second of all connections together
CONNECTIONS, WORKERS = 64, 2
PAUSE = 3.0  # seconds from one move to the next
AWAY = 0.01  # of all the time MLflow is gone each time, and a bad version stays in production
GROWTH = 0.05
ROWS = 200

Step = tuple[str, Callable[[], None]]


class Bomb:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.path,))


@dataclass
class Outcome:
    """What a soak found."""

    crowd: Crowd
    seconds: float
    moves: Counter[str]
    incidents: list[str]
    not_logged: int
    executed: bool
    memory: dict[int, tuple[float, float]] = field(default_factory=dict)
    """MB at the start and at the end of each worker that lived from one to the other."""

    @property
    def missed(self) -> dict[str, object]:
        """Each goal that was missed, with what was found instead of nothing."""
        grown = [end / start - 1 for start, end in self.memory.values()]
        found = {
            "failures": len(self.crowd.failures),
            "wrong versions": self.crowd.wrong,
            "answers of refused versions": self.crowd.refused,
            "acknowledged but not logged": self.not_logged,
            "code of a model executed": self.executed,
            "workers that grew": sum(growth > GROWTH for growth in grown),
            "no worker lived through": not self.memory,
        }
        return {name: value for name, value in found.items() if value}

    def table(self) -> str:
        crowd = self.crowd
        by_version = ", ".join(f"{n:,} of version {v}" for v, n in sorted(crowd.answers.items()))
        rows: list[tuple[str, object]] = [
            ("requests", f"{crowd.requests:,}"),
            ("… answered", by_version),
            ("moves of the alias", ", ".join(f"{n} by {by}" for by, n in self.moves.items())),
            ("failures", len(crowd.failures)),
            ("… besides requests under way at the killed worker", crowd.lost),
            ("wrong versions", crowd.wrong),
            ("answers of refused versions", crowd.refused),
            ("acknowledged but not logged", self.not_logged),
            ("code of a malicious model executed", "yes" if self.executed else "no"),
        ]
        rows += [
            (f"memory of worker {pid}", f"{start:.1f} → {end:.1f} MB ({end / start - 1:+.1%})")
            for pid, (start, end) in self.memory.items()
        ]
        head = (
            f"# Soak, {datetime.now(UTC):%Y-%m-%d}\n\n{self.seconds:.0f} s, {CONNECTIONS}"
            f" connections, {WORKERS} workers, {os.cpu_count()} cores, Python"
            f" {platform.python_version()}. Memory is that of workers that lived through, after a"
            " warm-up and at the end.\n\n| | |\n|---|---|\n"
        )
        lines = [f"| {name} | {value} |" for name, value in rows]
        return head + "\n".join([*lines, "", *(f"- {each}" for each in self.incidents)]) + "\n"


def main() -> None:
    cli.parser(__doc__).parse_args()
    seconds = float(os.environ.get("SOAK_SECONDS", SECONDS))
    with TemporaryDirectory(prefix="churn soak ") as folder:
        project = checkout(Path(folder))
        project.do("dvc", "repro")
        project.do("dvc", "exp", "run", "-S", "train.logistic_regression.C=0.01")
        try:
            outcome = soak(project, seconds, RATE)
        finally:
            project.do("python", "src/stop_mlflow.py")
    cli.step(outcome.table())
    for failure in outcome.crowd.failures[:20]:
        cli.step(failure)
    if outcome.missed:
        raise UserError(f"missed: {outcome.missed}")
    files.write_text(ROOT / "reports" / "bench" / "soak.md", outcome.table())


def soak(project: Project, seconds: float, rate: float) -> Outcome:
    """Soak the API of a project that has good versions 1 and 2, and whose MLflow server runs."""
    exploded = project.root.parent / "exploded"
    server = registry_of(project)
    expected, bodies = answers(server, project, ("1", "2"))
    bad = plant_bad_versions(server, exploded)
    moved(project, "promote 1", "rollback 2")
    with running(project, "python", "src/api.py", "--workers", str(WORKERS)) as api:
        url = str(api.client.base_url)
        crowd = Crowd(httpx.URL(url).port or 0, bodies, expected, CONNECTIONS / rate)
        story = Story(project, url, crowd, bad, seconds)
        wait_until(lambda: story.all_serve("2"))
        with asking(crowd):
            story.play()
            memory = {pid: (mb, memory_of(pid)) for pid, mb in story.memory.items() if lives(pid)}
    # The API has ended and its log is whole.
    return Outcome(
        crowd=crowd,
        seconds=time.monotonic() - story.begun,
        moves=story.moves,
        incidents=story.told,
        not_logged=crowd.not_logged(project.root / "logs"),
        executed=exploded.exists(),
        memory=memory,
    )


def answers(
    server: Registry, project: Project, numbers: Iterable[str]
) -> tuple[dict[str, list[float]], list[bytes]]:
    """What each version says to each row, and the rows as JSON."""
    expected: dict[str, list[float]] = {}
    table = pl.read_csv(project.root / "data" / "raw.csv", null_values=[])
    for number in numbers:
        version, uri = server.version(number), server.artifact_uri(number)
        parts = [server.mlflow.get_artifact(f"{uri}/{name}") for name in _FILES]
        loaded = scorer.load(parts[0], parts[1], version.tags)
        rows = table.select(loaded.schema.features).head(ROWS).to_dicts()
        reader = RowReader(loaded.schema, loaded.encoding)
        expected[number] = loaded.score([reader.clean(row) for row in rows])
    first, second = expected.values()
    # Where both say nearly the same an answer would not tell its version.
    apart = [index for index in range(len(rows)) if abs(first[index] - second[index]) > 1e-4]
    assert len(apart) > ROWS / 2, "the versions are too much alike"
    told = {number: [all_of[index] for index in apart] for number, all_of in expected.items()}
    return told, [orjson.dumps(rows[index]) for index in apart]


_FILES = (scorer.SCORER_FILE, scorer.SCHEMA_FILE, "MLmodel")


def plant_bad_versions(server: Registry, exploded: Path) -> dict[str, str]:
    """Versions that must never answer, and what each is: by their numbers."""
    uri = server.artifact_uri("2")
    whole = {name: server.mlflow.get_artifact(f"{uri}/{name}") for name in _FILES}
    good, bomb = whole[scorer.SCORER_FILE], pickle.dumps(Bomb(exploded))
    half = good[: len(good) // 2]
    malicious = dict.fromkeys([scorer.SCORER_FILE, "model.skops", "model.pkl"], bomb)
    return {
        plant(server, whole | {scorer.SCORER_FILE: half}, good): "corrupt",
        plant(server, whole | {scorer.SCORER_FILE: half}, half): "corrupt, its tags made to fit",
        plant(server, whole | malicious, bomb): "malicious, its tags made to fit",
    }


def plant(server: Registry, contents: dict[str, bytes], tagged: bytes) -> str:
    """Register a version with these files, tagged like version 2 but with the hash of `tagged`."""
    created = server.mlflow.post(
        "runs/create",
        experiment_id=server.experiment_id(EXPERIMENT),
        start_time=int(time.time() * 1000),
    )["run"]["info"]
    for name, content in contents.items():
        server.mlflow.put_artifact(f"{created['artifact_uri']}/model/{name}", content)
    tags = server.version("2").tags | {Tag.SCORER_SHA256: hashlib.sha256(tagged).hexdigest()}
    version = server.mlflow.post(
        "model-versions/create",
        name=MODEL,
        source=f"{created['artifact_uri']}/model",
        run_id=created["run_id"],
        tags=[{"key": key, "value": value} for key, value in tags.items()],
    )
    return str(version["model_version"]["version"])


class Story:
    """What happens to the API while the crowd asks."""

    def __init__(
        self, project: Project, url: str, crowd: Crowd, bad: dict[str, str], seconds: float
    ) -> None:
        self._project = project
        self._url = url
        self._crowd = crowd
        self._seconds = seconds
        self._at = "2"
        self._turn = itertools.count(1)
        self.moves: Counter[str] = Counter()
        self.told: list[str] = []
        self.memory: dict[int, float] = {}
        self.begun = time.monotonic()
        self._incidents: deque[Step] = deque(
            [
                ("MLflow is killed", self._kill_mlflow),
                *(self._bad(number, what) for number, what in bad.items()),
                ("MLflow is killed, and a worker while it is away", self._kill_both),
            ]
        )

    def play(self) -> None:
        """Move the alias all the time, and let one incident follow the other at even distances,
        after a warm-up of a tenth of the time; until all have happened and the time is over."""
        distance = 0.9 * self._seconds / (len(self._incidents) + 1)
        due = 0.1 * self._seconds
        with cli.progress_by_size("seconds of soak", int(self._seconds)) as bar:
            while self._incidents or self._elapsed < self._seconds:
                started = time.monotonic()
                if self._elapsed >= due:
                    due += distance
                    if not self.memory:
                        self.memory = {pid: memory_of(pid) for pid in self._workers()}
                    elif self._incidents:
                        self._happens(*self._incidents.popleft())
                self._move()
                time.sleep(max(0.0, PAUSE - (time.monotonic() - started)))
                bar.set_postfix_str(self._crowd.summary)
                bar.update(int(self._elapsed) - bar.n)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.begun

    def _happens(self, what: str, incident: Callable[[], None]) -> None:
        began = self._elapsed
        incident()
        self.told.append(
            f"{began:.0f} s: {what} ({self._elapsed - began:.0f} s until all was well)"
        )
        cli.step(self.told[-1])

    def _move(self) -> None:
        """To the other good version: mostly as a command does at its end, now and then by one."""
        turn, to = next(self._turn), "1" if self._at == "2" else "2"
        if turn % 10 == 0:
            self._project.do("python", "src/promote.py", "--version", to)
            self.moves["promote.py"] += 1
        elif turn % 5 == 0:
            self._project.do("python", "src/rollback.py", "--version", to)
            self.moves["rollback.py"] += 1
        else:
            moved(self._project, f"{'promote' if turn % 2 else 'rollback'} {to}")
            self.moves["a mover"] += 1
        self._at = to

    def _bad(self, number: str, what: str) -> Step:
        def promote() -> None:
            force = ("--force", "--reason", "to see what happens")
            self._project.do("python", "src/promote.py", "--version", number, *force)
            self.moves["promote.py --force"] += 1
            refused = f"version {number} is refused"
            wait_until(lambda: all(refused in str(each["problem"]) for each in self._states()))
            time.sleep(AWAY * self._seconds)
            self._project.do("python", "src/rollback.py")
            self.moves["rollback.py"] += 1
            self._at = registry_of(self._project).aliases()[PRODUCTION]
            wait_until(lambda: self.all_serve(self._at))

        return f"version {number} is promoted by force: {what}", promote

    def _kill_mlflow(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        wait_until(lambda: self.all_serve(self._at))
        for process in servers(self._project):
            process.kill()
        wait_until(lambda: all("no MLflow server" in str(e["problem"]) for e in self._states()))
        meanwhile()
        time.sleep(AWAY * self._seconds)
        self._project.do("python", "src/start_mlflow.py")
        wait_until(lambda: self.all_serve(self._at))

    def _kill_both(self) -> None:
        self._kill_mlflow(self._kill_worker)

    def _kill_worker(self) -> None:
        """The one that comes in its place has nobody to ask which version it should serve."""
        victim = psutil.Process(self._workers()[0])
        victim.suspend()  # so that it takes no more connections
        self._crowd.excuse({end.raddr.port for end in victim.net_connections("tcp") if end.raddr})
        victim.send_signal(signal.SIGKILL)
        wait_until(lambda: victim.pid not in self._workers() and self._serve(self._at))

    def all_serve(self, number: str) -> bool:
        """Whether each worker serves the version, and nothing is wrong."""
        return self._serve(number) and not any(each["problem"] for each in self._states())

    def _serve(self, number: str) -> bool:
        return [each["served_version"] for each in self._states()] == [number] * WORKERS

    def _workers(self) -> list[int]:
        return [each["pid"] for each in self._states()]

    def _states(self) -> list[dict[str, Any]]:
        """What each worker says; a new connection each time, since a worker may be gone."""
        try:
            state = httpx.get(f"{self._url}/model", timeout=30).json()
        except httpx.TransportError:
            return []
        return [each for each in state["workers"] if lives(each["pid"])]


@contextmanager
def asking(crowd: Crowd) -> Any:
    """The crowd asks, in a thread of its own, until the block ends."""
    thread = threading.Thread(target=lambda: asyncio.run(crowd.ask()), name="crowd")
    thread.start()
    try:
        yield
    finally:
        crowd.stop()
        thread.join()


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def memory_of(pid: int) -> float:
    """MB."""
    return psutil.Process(pid).memory_info().rss / 1e6


if __name__ == "__main__":
    cli.run(main)
