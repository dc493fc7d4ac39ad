"""`python src/reproduce.py`: the real stages of real commits, data from real DVC remotes."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import registry_of, wait_until
from project import Project, checkout, local_environment

from churn import lineage
from churn.registry import EXPERIMENT, MODEL, Registry, Tag

pytestmark = pytest.mark.xdist_group("reproduce")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Version 1 from a clean commit, version 2 an experiment that nobody committed, with a module
    that git does not know; the data are in a DVC remote as well."""
    folder = tmp_path_factory.mktemp("reproduce")
    project = checkout(folder)
    project.do("dvc", "remote", "add", "first", str(folder / "empty remote"))
    project.do("dvc", "remote", "add", "second", str(folder / "remote"))
    project.do("git", "commit", "-qam", "remotes")
    project.do("dvc", "repro")
    project.do("dvc", "push", "-r", "second", "ingest")
    project.edit("src/churn/model.py", "FOLDS = 5", "from churn.folds import FOLDS")
    (project.root / "src/churn/folds.py").write_text("FOLDS = 4\n")
    (project.root / "customers.csv").write_text("name\nnobody else's business\n")
    project.do("dvc", "exp", "run", "-S", "train.logistic_regression.C=0.01")
    project.do("git", "checkout", "-q", "src")
    (project.root / "src/churn/folds.py").unlink()
    yield project
    project.do("python", "src/stop_mlflow.py")


@pytest.fixture
def project(made: Project) -> Iterator[Project]:
    """The same for each test, which must leave neither a version, a run, a worktree nor a file."""
    before = everything(made)
    yield made
    assert everything(made) == before


def everything(project: Project) -> object:
    registry = registry_of(project)
    experiment = registry.experiment_id(EXPERIMENT)
    runs = registry.mlflow.pages("runs/search", "runs", experiment_ids=[experiment])
    return (
        len(registry.versions()),
        len(list(runs)),
        project.do("git", "worktree", "list"),
        project.do("git", "status", "--porcelain"),
        sorted(Path(tempfile.gettempdir()).glob(f"churn-*/{project.root.name}")),
    )


@contextmanager
def without(*places: Path) -> Iterator[None]:
    """The files are elsewhere for a while."""
    for place in places:
        place.rename(place.with_name("elsewhere"))
    try:
        yield
    finally:
        for place in places:
            place.with_name("elsewhere").rename(place)


def raw_data(project: Project) -> list[Path]:
    """The snapshot in DVC's cache and in the working tree."""
    md5 = lineage.md5(project.root / "data/raw.csv")
    cached = project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    return [cached, project.root / "data/raw.csv"]


@contextmanager
def tagged(project: Project, key: str, value: str) -> Iterator[None]:
    """Version 1 has another value of a tag for a while."""
    registry = registry_of(project)
    before = registry.version("1").tags[key]
    named = {"name": MODEL, "version": "1", "key": key}
    registry.mlflow.post("model-versions/set-tag", **named, value=value)
    try:
        yield
    finally:
        registry.mlflow.post("model-versions/set-tag", **named, value=before)


def model_files(registry: Registry, project: Project, number: str) -> Path:
    uri = registry.artifact_uri(number).removeprefix("mlflow-artifacts:/")
    return project.root / "mlflow/artifacts" / uri


def test_a_clean_commit_is_reproduced_with_data_from_a_remote(project: Project) -> None:
    with without(*raw_data(project)):
        said = project.do("python", "src/reproduce.py", "--version", "1")
    assert "from DVC's remote second" in said
    *_, last = said.splitlines()
    assert last.startswith("reproduced: version 1: the same data, ")
    assert registry_of(project).version("1").tags[Tag.GIT_CLEAN] == "true"


def test_an_experiment_that_was_not_committed_is_reproduced(project: Project) -> None:
    said = project.do("python", "src/reproduce.py", "--version", "2")
    touched = "params.yaml, src/churn/folds.py, src/churn/model.py"
    assert f"what was not committed, from MLflow, is applied and run: {touched}" in said
    assert "from DVC's cache" in said
    assert "\nreproduced: version 2" in said


def test_what_differs_is_named(project: Project) -> None:
    registry = registry_of(project)
    run_id = registry.version("1").run_id
    entries = registry.mlflow.get("runs/get", run_id=run_id)["run"]["data"]["metrics"]
    f1 = next(entry for entry in entries if entry["key"] == "f1")
    other = f1 | {"value": 0.5, "timestamp": f1["timestamp"] + 1}
    registry.mlflow.post("runs/log-batch", run_id=run_id, metrics=[other])
    ours, theirs = (model_files(registry, project, number) for number in "12")
    original = ours.with_name("original")
    shutil.copytree(ours, original)
    shutil.copytree(theirs, ours, dirs_exist_ok=True)
    (ours / "requirements.txt").write_text("numpy==1.0\n")
    try:
        line = project.refused("python", "src/reproduce.py", "--version", "1")
    finally:
        shutil.rmtree(ours)
        original.rename(ours)
        again = f1 | {"timestamp": f1["timestamp"] + 2}
        registry.mlflow.post("runs/log-batch", run_id=run_id, metrics=[again])
    assert line.startswith("not reproduced: version 1: 1 of ")
    assert f"metrics differ: f1 0.5 is {f1['value']!r} here" in line
    assert "the model's schema differs in threshold (" in line
    assert "test rows differ, by 0." in line
    assert "Likely because it was made with numpy 1.0 (here " in line


def test_data_that_are_nowhere_are_named(project: Project) -> None:
    remotes = project.root.parent
    with without(*raw_data(project), remotes / "remote"):
        line = project.refused("python", "src/reproduce.py", "--version", "1")
    sha256 = registry_of(project).version("1").tags[Tag.RAW_SHA256]
    assert line.startswith(f"not reproduced: version 1: its data are missing (SHA-256 {sha256}, ")
    assert "DVC's cache does not have it; data/raw.csv of this checkout does not have it" in line
    assert "DVC's remote first does not have it; DVC's remote second does not have it" in line


def test_data_of_another_content_are_not_taken(project: Project) -> None:
    with tagged(project, Tag.RAW_SHA256, "0" * 64):
        line = project.refused("python", "src/reproduce.py", "--version", "1")
    assert "DVC's cache holds another file; data/raw.csv of this checkout holds another" in line


@pytest.mark.parametrize(
    ("commit", "said"),
    [("f" * 40, "this repository has no commit fff"), ("unknown", "outside a git repository")],
)
def test_a_commit_that_is_not_here_is_named(project: Project, commit: str, said: str) -> None:
    with tagged(project, Tag.GIT_COMMIT, commit):
        line = project.refused("python", "src/reproduce.py", "--version", "1")
    assert line.startswith("not reproduced: version 1: ")
    assert said in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_stopped_leaves_nothing(
    project: Project, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process, top = while_training(project, tmp_path)
    process.send_signal(number)
    assert process.wait(60) == code
    assert not top.exists()


def test_what_was_killed_is_cleared_away_by_the_next(project: Project, tmp_path: Path) -> None:
    process, top = while_training(project, tmp_path)
    process.kill()
    process.wait(60)
    assert top.is_dir()
    with tagged(project, Tag.RAW_SHA256, "0" * 64):
        project.refused("python", "src/reproduce.py", "--version", "1")
    assert not top.exists()


def while_training(project: Project, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A rebuild whose server has begun to start, and its worktree."""
    environment = local_environment(MLFLOW_TRACKING_URI=project.mlflow_uri, TMPDIR=str(folder))
    command = ["python", "src/reproduce.py", "--version", "1"]
    process = subprocess.Popen(
        command,
        cwd=project.root,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: bool(list(folder.glob("churn-reproduce-*/mlflow/server-*.json"))))
    assert os.getpgid(process.pid) == process.pid
    return process, next(folder.glob("churn-reproduce-*"))


def test_a_version_that_does_not_exist_is_named(project: Project) -> None:
    line = project.refused("python", "src/reproduce.py", "--version", "9")
    assert "has no version 9" in line
    assert project.run("python", "src/reproduce.py").returncode == 2
