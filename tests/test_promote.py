"""promote.py, against a real MLflow server on SQLite and on PostgreSQL."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from conftest import moved, registry_of, wait_until
from project import Project, local_environment

from churn.ledger import Ledger, Move
from churn.registry import CHAMPION, MODEL, PRODUCTION, Tag

PROMOTE = ("python", "src/promote.py")
ROLLBACK = ("python", "src/rollback.py")


def at(project: Project, alias: str = PRODUCTION) -> str | None:
    return registry_of(project).aliases().get(alias)


def last_move(project: Project, alias: str = PRODUCTION) -> Move:
    return next(Ledger(registry_of(project)).moves(alias))


@contextmanager
def no_regression_allowed(project: Project) -> Iterator[None]:
    """Version 2 is a little worse than version 1, and surely so."""
    project.edit("params.yaml", "max_regression: 0.01", "max_regression: 0.001")
    yield
    project.edit("params.yaml", "max_regression: 0.001", "max_regression: 0.01")


def test_promote_takes_the_newest_version_that_passed_its_gate(registered: Project) -> None:
    assert "none → 2" in registered.do(*PROMOTE)
    assert at(registered) == "2"
    assert "already" in registered.do(*PROMOTE)
    assert len(list(Ledger(registry_of(registered)).moves(PRODUCTION))) == 1
    tags = registry_of(registered).version("2").tags
    assert tags[Tag.SERVABLE] == "yes"


def test_promote_refuses_what_failed_its_gate_and_says_why(trained: Project) -> None:
    line = trained.refused(*PROMOTE, "--version", "3")
    assert "version 3 failed its gate" in line
    assert "gate_f1 0.99" in line
    assert at(trained) is None


def test_promote_refuses_what_was_never_evaluated(project: Project) -> None:
    project.do("python", "src/train.py")
    assert "not been evaluated" in project.refused(*PROMOTE, "--version", "4")


@pytest.mark.parametrize("command", [PROMOTE, ROLLBACK])
def test_a_version_that_does_not_exist_is_refused(
    trained: Project, command: tuple[str, ...]
) -> None:
    moved(trained, "promote 1")
    line = trained.refused(*command, "--version", "77")
    assert "no version 77" in line
    assert "3, 2, 1" in line


@pytest.mark.parametrize("number", ["abc", "0", "-1", "1.5", "", "²"])
@pytest.mark.parametrize("command", [PROMOTE, ROLLBACK])
def test_a_version_that_is_not_a_number_is_wrong_usage(
    template: Project, command: tuple[str, ...], number: str
) -> None:
    line = template.refused(*command, f"--version={number}", code=2)
    assert "not a version number" in line


def test_nothing_trained_is_said_by_both(project: Project) -> None:
    for path in (project.root / "mlflow").glob("mlflow.db*"):
        path.unlink()
    for command in (PROMOTE, ROLLBACK):
        assert "dvc repro" in project.refused(*command)


def test_the_advice_for_an_empty_registry_works(project: Project) -> None:
    for path in (project.root / "mlflow").glob("mlflow.db*"):
        path.unlink()
    project.edit("params.yaml", "gate_f1: 0.99", "gate_f1: 0.55")
    advice = project.refused(*PROMOTE).split("`")[3]
    assert "'ingest'" not in project.do(*advice.split())
    assert "none → 1" in project.do(*PROMOTE)


def test_evaluation_on_another_server_than_the_training_says_so(project: Project) -> None:
    for path in (project.root / "mlflow").glob("mlflow.db*"):
        path.unlink()
    assert "dvc repro -f -s train" in project.refused("python", "src/evaluate.py")


def test_another_alias_moves_by_itself(registered: Project) -> None:
    moved(registered, "promote 1")
    assert "staging: none → 2" in registered.do(*PROMOTE, "--alias", "staging")
    aliases = {version.number: version.aliases for version in registry_of(registered).versions()}
    assert aliases == {"3": (), "2": ("staging",), "1": (PRODUCTION,)}
    assert last_move(registered, "staging").to_version == "2"
    assert last_move(registered).to_version == "1"


def test_promote_if_unset_leaves_a_version_where_it_is(trained: Project) -> None:
    moved(trained, "promote 1")
    assert "version 1 already" in trained.do(*PROMOTE, "--if-unset")
    assert at(trained) == "1"


def test_challenger_and_champion_are_scored_on_the_same_rows(registered: Project) -> None:
    moved(registered, "promote 1")
    said = registered.do(*PROMOTE, "--reason", "smaller")
    assert "version 2 and version 1: roc_auc 0." in said
    assert "rows that neither was trained on" in said
    move = last_move(registered)
    assert (move.from_version, move.to_version, move.command) == ("1", "2", "promote")
    assert (move.reason, move.gate, move.forced) == ("smaller", "passed", "")
    assert move.comparison in said
    numbers = move.numbers
    assert numbers["roc_auc_gain_low"] < numbers["roc_auc_gain"] < numbers["roc_auc_gain_high"] < 0
    assert numbers["roc_auc_gain"] == numbers["roc_auc"] - numbers["roc_auc_champion"]
    metrics = json.loads((registered.root / "reports/metrics.json").read_text())
    assert numbers["rows"] > 500
    assert abs(numbers["roc_auc"] - metrics["roc_auc"]) < 0.01


def test_one_that_is_significantly_worse_is_refused_with_the_interval(trained: Project) -> None:
    moved(trained, "promote 1")
    with no_regression_allowed(trained):
        line = trained.refused(*PROMOTE)
    assert "version 2 is significantly worse than version 1: roc_auc 0." in line
    assert re.search(r"-0\.\d{4} \[-0\.\d{4}, -0\.\d{4}\]", line)
    assert "promote.max_regression allows 0.001" in line
    assert at(trained) == "1"


def test_force_with_a_reason_overrides_and_the_ledger_says_so(trained: Project) -> None:
    moved(trained, "promote 1")
    with no_regression_allowed(trained):
        trained.do(*PROMOTE, "--force", "--reason", "the regulator asks for it")
    move = last_move(trained)
    assert at(trained) == "2"
    assert move.reason == "the regulator asks for it"
    assert move.forced.startswith("is significantly worse than version 1")


def test_force_takes_what_failed_its_gate(registered: Project) -> None:
    registered.do(*PROMOTE, "--version", "3", "--force", "--reason", "a test of the alarms")
    assert at(registered) == "3"
    assert last_move(registered).gate == "failed"
    assert last_move(registered).forced.startswith("failed its gate")
    assert at(registered, CHAMPION) is None


def test_force_without_a_reason_is_wrong_usage(template: Project) -> None:
    assert "--reason" in template.refused(*PROMOTE, "--force", "--reason", " ", code=2)


@pytest.mark.parametrize(("expected", "there"), [("2", "1"), ("none", "1"), ("1", "none")])
def test_expect_refuses_when_the_alias_is_elsewhere(
    trained: Project, expected: str, there: str
) -> None:
    if there == "1":
        moved(trained, "promote 1")
    line = trained.refused(*PROMOTE, "--version", "2", "--expect", expected)
    assert f"production is churn_model version {there}, not {expected} as expected" in line


def test_a_dry_run_checks_everything_and_moves_nothing(trained: Project) -> None:
    moved(trained, "promote 1")
    assert "would move production: 1 → 2" in trained.do(*PROMOTE, "--dry-run")
    with no_regression_allowed(trained):
        assert "significantly worse" in trained.refused(*PROMOTE, "--dry-run")
    assert at(trained) == "1"


def test_the_champion_follows_to_what_is_better_and_not_to_what_is_worse(
    trained: Project,
) -> None:
    assert "champion: none → 2" in trained.do(*PROMOTE)
    assert "champion: 2 → 1" in trained.do(*PROMOTE, "--version", "1")
    assert "champion stays churn_model version 1: roc_auc" in trained.do(*PROMOTE)
    assert at(trained, CHAMPION) == "1"
    line = trained.refused(*PROMOTE, "--alias", CHAMPION)
    assert "version 2 is not better than version 1: roc_auc 0." in line


def test_the_champion_follows_to_a_version_that_passes_its_gate_and_is_better(
    project: Project,
) -> None:
    project.do("python", "src/start_mlflow.py")
    moved(project, "promote 2", alias=CHAMPION)
    project.edit("params.yaml", "C: 0.02", "C: 1.0")
    project.edit("params.yaml", "gate_f1: 0.99", "gate_f1: 0.55")
    assert "champion: 2 → 4" in project.do("dvc", "repro")
    move = last_move(project, CHAMPION)
    assert (move.command, move.gate) == ("evaluate", "passed")
    assert move.numbers["roc_auc_gain"] > 0
    assert at(project) is None


def test_a_version_that_does_not_load_never_becomes_production(project: Project) -> None:
    project.do("python", "src/start_mlflow.py")
    moved(project, "promote 1")
    uri = registry_of(project).artifact_uri("2")
    model = project.root / "mlflow/artifacts" / uri.partition(":/")[2] / "extra_files/scorer.onnx"
    model.write_bytes(b"not a model")
    line = project.refused(*PROMOTE)
    assert "version 2 cannot be served: its file has the SHA-256 " in line
    assert at(project) == "1"
    assert "it was changed since" in registry_of(project).version("2").unservable


def test_a_trial_that_is_killed_does_not_take_promote_with_it(trained: Project) -> None:
    environment = local_environment(MLFLOW_TRACKING_URI=trained.mlflow_uri)
    promote = psutil.Popen(
        PROMOTE, cwd=trained.root, env=environment, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: any("churn.trial" in c.cmdline() for c in promote.children()))
    for child in promote.children():
        child.kill()
    _, said = promote.communicate()
    assert "version 2 cannot be served: its trial was ended by signal 9" in said
    assert at(trained) is None


def test_without_the_data_a_challenger_is_not_compared_and_refused(trained: Project) -> None:
    moved(trained, "promote 1")
    raw = trained.root / "data/raw.csv"
    aside = raw.rename(raw.with_name("aside.csv"))
    line = trained.refused(*PROMOTE)
    aside.rename(raw)
    assert "version 2 cannot be compared with version 1: data/raw.csv is missing" in line


def test_versions_of_other_splits_are_compared_on_rows_that_both_have_not_seen(
    project: Project,
) -> None:
    project.edit("params.yaml", "gate_f1: 0.99", "gate_f1: 0.55")
    project.edit("params.yaml", 'salt: ""', "salt: another")
    project.do("dvc", "repro")
    moved(project, "promote 2")
    project.do(*PROMOTE)
    move = last_move(project)
    assert (move.from_version, move.to_version) == ("2", "4")
    tests = (project.root / "data/processed.csv").read_text().count("test\n")
    assert 0.1 * tests < move.numbers["rows"] < 0.3 * tests


def test_the_mirror_follows_each_move(registered: Project) -> None:
    current = registered.root / "registry/current_model.txt"
    registered.do(*PROMOTE, "--version", "1")
    assert current.read_text() == f"{MODEL}/1\n"
    moved(registered, "promote 2")
    registered.do(*ROLLBACK)
    assert current.read_text() == f"{MODEL}/1\n"
    mirrored = json.loads((registered.root / "registry/metadata.json").read_text())
    aliases = {entry["version"]: entry["aliases"] for entry in mirrored}
    assert aliases == {"3": [], "2": [], "1": [CHAMPION, PRODUCTION]}


def test_a_mirror_that_cannot_be_written_is_a_warning_because_the_alias_has_moved(
    trained: Project,
) -> None:
    mirror = trained.root / "registry"
    aside = mirror.rename(mirror.with_name("aside"))
    mirror.write_text("a file where the folder should be")
    moved(trained, "promote 1", "promote 2")
    done = trained.run(*ROLLBACK)
    mirror.unlink()
    aside.rename(mirror)
    assert done.returncode == 0
    assert "warning: registry/ is behind" in done.stderr
    assert at(trained) == "1"
