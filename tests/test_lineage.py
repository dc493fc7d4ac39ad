import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# No settings of the person who runs the tests, and no repository that a git hook has named.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The package alone, in a folder that is no git repository."""
    root = tmp_path / "a project"
    shutil.copytree(
        ROOT / "src" / "churn", root / "src" / "churn", ignore=shutil.ignore_patterns("__pycache__")
    )
    return root


def git(project: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=project,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def commit(project: Path) -> str:
    """Commit all files; the hash of the commit."""
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "all")
    return git(project, "rev-parse", "HEAD")


def lineage(project: Path, **variables: str) -> list[str]:
    """What the project's own code says about itself: the commit, and whether it is clean."""
    code = "from churn import lineage; print(lineage.git_commit(), lineage.git_clean())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.parent,
        env=ENVIRONMENT | {"PYTHONPATH": str(project / "src")} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_a_committed_tree_is_clean(project: Path) -> None:
    assert lineage(project) == ["unknown", "unknown"]
    head = commit(project)
    assert len(head) == 40
    assert lineage(project) == [head, "true"]


@pytest.mark.parametrize("name", ["src/churn/model.py", "params.yaml", "data/schema.yaml"])
def test_a_change_that_decides_a_model_makes_the_tree_unclean(name: str, project: Path) -> None:
    head = commit(project)
    (project / name).parent.mkdir(exist_ok=True)
    with (project / name).open("a") as file:
        file.write("# changed\n")
    assert lineage(project) == [head, "false"]


@pytest.mark.parametrize(
    "name", ["dvc.lock", "models/.gitignore", "reports/metrics.json", "reports/plots/roc.csv"]
)
def test_what_the_pipeline_itself_rewrites_does_not_count(name: str, project: Path) -> None:
    (project / "reports" / "plots").mkdir(parents=True)
    (project / "models").mkdir()
    (project / name).write_text("old")
    head = commit(project)
    (project / name).write_text("new")
    assert lineage(project) == [head, "true"]


def test_a_repository_without_a_commit_has_none(project: Path) -> None:
    git(project, "init", "-q")
    assert lineage(project) == ["unknown", "false"]


def test_without_git_nothing_is_known(project: Path, tmp_path: Path) -> None:
    commit(project)
    assert lineage(project, PATH=str(tmp_path)) == ["unknown", "unknown"]


def uncommitted(project: Path) -> tuple[str, str]:
    """The patch that the project's own code makes, and why it makes none."""
    code = (
        "from churn import lineage; found = lineage.uncommitted();"
        " print(found.left_out, found.patch.decode(), sep='\\n', end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.parent,
        env=ENVIRONMENT | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    left_out, _, patch = done.stdout.partition("\n")
    return patch, left_out


def test_what_training_reads_and_is_not_committed_makes_a_patch(project: Path) -> None:
    assert uncommitted(project) == ("", "")
    (project / "params.yaml").write_text("seed: 1\n")
    commit(project)
    assert uncommitted(project) == ("", "")
    (project / "params.yaml").write_text("seed: 2\n")
    (project / "src/churn/new one.py").write_text("NEW = 1\n")
    before = git(project, "status", "--porcelain")
    patch, left_out = uncommitted(project)
    assert left_out == ""
    assert git(project, "status", "--porcelain") == before
    (project.parent / "patch").write_text(patch)
    git(project, "stash", "--include-untracked")
    git(project, "apply", str(project.parent / "patch"))
    assert (project / "params.yaml").read_text() == "seed: 2\n"
    assert (project / "src/churn/new one.py").read_text() == "NEW = 1\n"


def test_tables_notes_and_keys_never_get_into_a_patch(project: Path) -> None:
    (project / "customers.csv").write_text("old\n")
    commit(project)
    for name in ("customers.csv", "src/customers.csv", "data/raw.csv", "notes.md", ".env"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("secret\n")
    git(project, "add", "data/raw.csv")
    assert uncommitted(project) == ("", "no file that training reads differs")


def test_a_patch_that_is_too_large_is_left_out(project: Path) -> None:
    commit(project)
    (project / "src" / "large.py").write_text("x = 1\n" * 200_000)
    patch, left_out = uncommitted(project)
    assert patch == ""
    assert "1,000,000 is the most that is kept" in left_out


def test_the_settings_of_a_person_do_not_change_the_patch(project: Path) -> None:
    (project / "params.yaml").write_text("seed: 1\n")
    commit(project)
    (project / "params.yaml").write_text("seed: 2\n")
    patch, _ = uncommitted(project)
    assert "+seed: 2" in patch
    for name, value in {"color.diff": "always", "diff.noprefix": "true"}.items():
        git(project, "config", name, value)
    assert uncommitted(project) == (patch, "")
