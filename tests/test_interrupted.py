"""The stages and `dvc repro`, killed for real at one point after another, and run again.

A process kills itself just before it calls a named function, so that each point is hit exactly.
"""

import itertools
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from conftest import copied, registry_of, wait_until
from project import Project, local_environment

from churn.files import sha256
from churn.registry import EXPERIMENT, Registry, Tag, Version

DYING = """
import importlib, os, runpy, sys

script, place, call, number = sys.argv[1:5]
module, _, name = place.partition(":")
sys.path.insert(0, "src")
owner = importlib.import_module(module)
*path, last = name.split(".")
for part in path:
    owner = getattr(owner, part)
function, calls = getattr(owner, last), []

def dies(*arguments, **named):
    calls.append(1)
    if len(calls) == int(call):
        os.kill(os.getpid(), int(number))
    return function(*arguments, **named)

setattr(owner, last, dies)
sys.argv = [script, *sys.argv[5:]]
runpy.run_path(script, run_name="__main__")
"""

INGEST, PREPARE, TRAIN, EVALUATE = (
    f"src/{name}.py" for name in ("ingest_data", "prepare_data", "train", "evaluate")
)
DVC = str(files("dvc") / "__main__.py")


def ended(
    project: Project,
    script: str,
    place: str,
    call: int = 1,
    sign: int = signal.SIGKILL,
    arguments: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a script that gets the signal just before its so manieth call of the function."""
    return project.run("python", "-c", DYING, script, place, str(call), str(int(sign)), *arguments)


def killed(project: Project, script: str, place: str, call: int = 1) -> None:
    done = ended(project, script, place, call)
    assert done.returncode == -signal.SIGKILL, f"{place}: {done.stdout}\n{done.stderr}"


def statuses(registry: Registry) -> list[str]:
    """How the runs of the experiment ended, the oldest first."""
    found = registry.mlflow.pages(
        "runs/search",
        "runs",
        experiment_ids=[registry.experiment_id(EXPERIMENT)],
        order_by=["attributes.start_time ASC"],
    )
    return [run["info"]["status"] for run in found]


def leftovers(project: Project) -> list[str]:
    """What is begun and not done, of all that the stages write."""
    folders = (project.root / name for name in ("data", "models", "reports", "registry"))
    begun = [path for folder in folders for path in folder.rglob(".*")]
    return [path.name for path in begun if path.name not in (".gitignore", ".gitkeep")]


def holds_together(project: Project, version: Version) -> None:
    """models/ holds this version, and nothing half done lies beside it."""
    training = json.loads((project.root / "models/training.json").read_text())
    assert (training["version"], training["run_id"]) == (version.number, version.run_id)
    assert sha256(project.root / "models/model.joblib") == version.tags[Tag.MODEL_SHA256]
    assert leftovers(project) == []


@pytest.fixture(scope="module")
def started(template: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a server that runs, for all tests here that train or evaluate."""
    project = copied(template, tmp_path_factory.mktemp("interrupted"))
    project.do("python", "src/start_mlflow.py")
    yield project
    project.do("python", "src/stop_mlflow.py")


_NEW = itertools.count(3)


def change(project: Project) -> None:
    """Give it parameters with which nothing was trained yet, and another gate that all pass."""
    new = next(_NEW)
    params = (project.root / "params.yaml").read_text()
    params = re.sub(r" C: \d\S*", f" C: 0.{new:03}", params)
    params = re.sub(r"gate_f1: \d\S*", f"gate_f1: 0.5{new}", params)
    (project.root / "params.yaml").write_text(params)


def gate_f1(project: Project) -> str:
    """The gate as it stands in params.yaml."""
    return re.findall(r"gate_f1: (\S+)", (project.root / "params.yaml").read_text())[0]


# train.py


def test_a_training_that_is_killed_again_and_again_becomes_one_version(started: Project) -> None:
    change(started)
    registry = registry_of(started)
    versions, runs, models = (
        len(found) for found in (registry.versions(), statuses(registry), logged(registry))
    )
    model, training = (started.root / "models" / n for n in ("model.joblib", "training.json"))
    before = (model.read_bytes(), training.read_bytes())

    # Half of it is in MLflow: the next one marks it, and trains.
    done = ended(started, TRAIN, "churn.tracking:_log_uncommitted", sign=signal.SIGTERM)
    assert (done.returncode, done.stderr) == (143, "error: stopped by SIGTERM\n")
    assert statuses(registry)[runs:] == ["KILLED"]
    killed(started, TRAIN, "mlflow.sklearn:save_model")
    assert statuses(registry)[runs:] == ["KILLED", "RUNNING"]
    assert logged(registry)[models:] == ["LOGGED_MODEL_PENDING"]

    # All of it is in MLflow: the next one goes on from there.
    killed(started, TRAIN, "churn.registry:Registry.register")
    assert statuses(registry)[runs:] == ["KILLED", "KILLED", "FINISHED"]
    assert logged(registry)[models:] == ["LOGGED_MODEL_UPLOAD_FAILED", "LOGGED_MODEL_READY"]
    assert len(registry.versions()) == versions
    assert (model.read_bytes(), training.read_bytes()) == before
    killed(started, TRAIN, "churn.files:write_json")
    assert len(registry.versions()) == versions + 1
    assert model.read_bytes() != before[0]
    assert training.read_bytes() == before[1]

    assert "it is finished" in started.do("python", TRAIN)
    assert len(registry.versions()) == versions + 1
    assert statuses(registry)[runs:] == ["KILLED", "KILLED", "FINISHED"]
    holds_together(started, registry.versions()[0])


def logged(registry: Registry) -> list[str]:
    """The states of the models that trainings have logged, the oldest first."""
    found = registry.mlflow.pages(
        "logged-models/search",
        "models",
        experiment_ids=[registry.experiment_id(EXPERIMENT)],
        order_by=[{"field_name": "creation_timestamp", "ascending": True}],
    )
    return [model["info"]["status"] for model in found]


def test_a_training_whose_inputs_have_changed_since_is_not_finished(started: Project) -> None:
    change(started)
    registry = registry_of(started)
    killed(started, TRAIN, "churn.journal:take_up")
    left = registry.versions()[0]
    change(started)
    assert "its inputs have changed since" in started.do("python", TRAIN)
    newest, second, *_ = registry.versions()
    assert (second.number, second.gate) == (left.number, "")
    assert set(statuses(registry)[-2:]) == {"FINISHED"}
    holds_together(started, newest)


# dvc repro


def test_a_training_that_dvc_did_not_record_is_not_repeated(started: Project) -> None:
    change(started)
    registry = registry_of(started)
    versions, runs = len(registry.versions()), len(statuses(registry))
    done = ended(started, DVC, "dvc.stage:Stage.dump", arguments=("repro",))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(registry.versions()) == versions + 1

    assert "it is finished" in started.do("dvc", "repro", "train")
    assert len(registry.versions()) == versions + 1

    # What is asked for again on purpose is another training.
    started.do("dvc", "repro", "-f", "-s", "train", "evaluate")
    newest, *others = registry.versions()
    assert len(others) == versions + 1
    assert newest.passed
    assert statuses(registry)[runs:] == ["FINISHED", "FINISHED"]
    holds_together(started, newest)


@dataclass(frozen=True)
class Slow:
    """A website whose file stops in the middle until it is released."""

    url: str
    asked: Event
    released: Event


CUSTOMERS = "tenure,left\n" + "1,0\n" * 1000


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked, released = Event(), Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CUSTOMERS)))
            self.end_headers()
            self.wfile.write(CUSTOMERS[:2000].encode())
            asked.set()
            released.wait()
            self.wfile.write(CUSTOMERS[2000:].encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the stage that asked was killed
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Slow(f"http://127.0.0.1:{server.server_port}/customers.csv", asked, released)
        released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def apart(template: Project, tmp_path: Path) -> Project:
    """A project for the stages that talk to no server."""
    return copied(template, tmp_path)


@contextmanager
def begun(project: Project, slow: Slow, *command: str) -> Iterator[subprocess.Popen[str]]:
    """The command, when it is in the middle of its download."""
    slow.asked.clear()
    process = subprocess.Popen(
        command,
        cwd=project.root,
        env=local_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores the keyboard, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            assert slow.asked.wait(120), process.communicate()
            yield process
        finally:
            process.kill()


def test_one_at_a_time_and_a_killed_one_stands_in_nobodys_way(apart: Project, slow: Slow) -> None:
    raw = apart.root / "data/raw.csv"
    before = raw.read_bytes()
    apart.edit("params.yaml", "source: sample", f"source: {slow.url}")
    with begun(apart, slow, "dvc", "repro", "ingest") as first:
        (stage,) = [
            process
            for process in psutil.Process(first.pid).children(recursive=True)
            if INGEST in process.cmdline()
        ]
        working = f"{INGEST} (process {stage.pid}, since "
        second = apart.run("dvc", "repro", "ingest")
        assert second.returncode == 255
        assert f"is busy, it is being blocked by:\n  (PID {first.pid}): " in second.stderr
        assert working in apart.refused("python", TRAIN)

    # `dvc repro` is dead, and its stage goes on.
    assert working in apart.refused("dvc", "repro", "ingest", code=255)
    stage.kill()
    wait_until(lambda: not stage.is_running())
    assert raw.read_bytes() == before
    assert leftovers(apart)

    slow.released.set()
    assert "busy" not in apart.run("dvc", "repro", "ingest").stderr
    assert raw.read_text() == CUSTOMERS
    assert leftovers(apart) == []


@pytest.mark.parametrize(
    ("sign", "code", "said"),
    [
        (signal.SIGINT, 130, "error: stopped by the keyboard\n"),
        (signal.SIGTERM, 143, "error: stopped by SIGTERM\n"),
    ],
)
def test_a_stage_that_is_told_to_stop_says_so_and_leaves_nothing(
    sign: signal.Signals, code: int, said: str, apart: Project, slow: Slow
) -> None:
    before = (apart.root / "data/raw.csv").read_bytes()
    apart.edit("params.yaml", "source: sample", f"source: {slow.url}")
    with begun(apart, slow, "python", INGEST) as process:
        process.send_signal(sign)
        _, stderr = process.communicate()
    assert (process.returncode, stderr) == (code, said)
    assert (apart.root / "data/raw.csv").read_bytes() == before
    assert leftovers(apart) == []


# prepare_data.py and evaluate.py


def test_a_table_is_whole_or_the_old_one(apart: Project) -> None:
    processed = apart.root / "data/processed.csv"
    before = processed.read_bytes()
    apart.edit("params.yaml", 'salt: ""', "salt: another")
    killed(apart, PREPARE, "pathlib:Path.replace")
    assert processed.read_bytes() == before
    assert leftovers(apart)
    apart.do("python", PREPARE)
    assert processed.read_bytes() != before
    assert leftovers(apart) == []


def test_an_evaluation_that_is_killed_again_and_again_gives_one_verdict(started: Project) -> None:
    change(started)
    number = json.loads((started.root / "models/training.json").read_text())["version"]
    registry = registry_of(started)
    before = registry.version(number)
    plots = started.root / "reports/plots"
    (plots / "roc.csv").write_text("old")
    drawn = sorted(plots.iterdir())

    killed(started, EVALUATE, "matplotlib.figure:Figure.savefig", 3)
    assert (plots / "roc.csv").read_text() == "old"
    assert leftovers(started)
    killed(started, EVALUATE, "churn.registry:Registry.record_verdict")
    assert (plots / "roc.csv").read_text() != "old"
    assert registry.version(number) == before

    started.do("python", EVALUATE)
    evaluated = registry.version(number)
    assert (evaluated.tags[Tag.GATE_F1], evaluated.gate) == (gate_f1(started), "passed")
    assert sorted(plots.iterdir()) == drawn
    reported = json.loads((started.root / "reports/metrics.json").read_text())
    mirrored = json.loads((started.root / "registry/metadata.json").read_text())
    (entry,) = (entry for entry in mirrored if entry["version"] == number)
    assert entry["gate"] == "passed"
    assert entry["metrics"]["f1"] == pytest.approx(reported["f1"])
    holds_together(started, evaluated)


# Disks


@pytest.fixture(scope="module")
def _mount() -> None:
    """Skips where nobody may mount anything."""
    unshare = shutil.which("unshare")
    command = [unshare or "false", "-m", "mount", "-t", "tmpfs", "none", str(Path(__file__).parent)]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("nothing may be mounted here")


def apart_from_others(*lines: str) -> tuple[str, ...]:
    """A command that runs the lines in a shell whose mounts nobody else sees."""
    return ("unshare", "-m", "sh", "-c", "\n".join(lines))


@pytest.mark.usefixtures("_mount")
@pytest.mark.parametrize("script", [INGEST, PREPARE, TRAIN, EVALUATE])
def test_a_folder_that_is_read_only_is_one_line(script: str, started: Project) -> None:
    folder = {INGEST: "data", PREPARE: "data", TRAIN: "models", EVALUATE: "reports"}[script]
    before = statuses(registry_of(started))
    mount = (f"mount --bind {folder} {folder}", f"mount -o remount,ro,bind {folder}")
    line = started.refused(*apart_from_others(*mount, f"exec python {script}"))
    assert line.startswith(f"Read-only file system: {started.root / folder}/")
    assert statuses(registry_of(started)) == before
    assert leftovers(started) == []


@pytest.mark.usefixtures("_mount")
def test_a_disk_that_is_full_is_one_line_and_keeps_the_old_snapshot(apart: Project) -> None:
    mount = "mount -t tmpfs -o size=64k none data && echo old > data/raw.csv"
    after = "code=$?; ls -A data; cat data/raw.csv; exit $code"
    done = apart.run(*apart_from_others(mount, f"python {INGEST}", after))
    place = apart.root / "data/raw.csv"
    assert done.returncode == 1
    assert done.stderr == f"error: No space left on device: {place}\n"
    assert done.stdout == "raw.csv\nold\n"
