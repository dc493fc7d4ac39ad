"""promote.py and rollback.py, against a real MLflow server."""

import json

import pytest
from conftest import registry_of
from project import Project

from churn.registry import MODEL, PRODUCTION

pytestmark = pytest.mark.xdist_group("project")

PROMOTE = ("python", "src/promote.py")
ROLLBACK = ("python", "src/rollback.py")


def production(trained: Project) -> str | None:
    version = registry_of(trained).at_alias(PRODUCTION)
    return version.number if version else None


def test_promote_takes_the_newest_version_that_passed_its_gate(trained: Project) -> None:
    assert "none → 2" in trained.do(*PROMOTE)
    assert production(trained) == "2"
    assert "already" in trained.do(*PROMOTE)
    assert len(registry_of(trained).moves(PRODUCTION)) == 1


def test_promote_refuses_what_failed_its_gate_and_says_why(trained: Project) -> None:
    line = trained.refused(*PROMOTE, "--version", "3")
    assert "version 3 failed its gate" in line
    assert "gate_f1 0.99" in line
    assert production(trained) is None


def test_promote_refuses_what_was_never_evaluated(project: Project) -> None:
    project.do("python", "src/train.py")
    assert "not been evaluated" in project.refused(*PROMOTE, "--version", "4")


def test_rollback_goes_back_through_what_was_in_production(trained: Project) -> None:
    trained.do(*PROMOTE, "--version", "2")
    trained.do(*PROMOTE, "--version", "1")
    assert "1 → 2" in trained.do(*ROLLBACK)
    assert production(trained) == "2"
    # Version 1 was rolled back from, and 2 was the first one.
    assert "nothing to roll back to" in trained.refused(*ROLLBACK)
    assert production(trained) == "2"


def test_rollback_never_takes_a_version_that_was_not_in_production(trained: Project) -> None:
    trained.do(*PROMOTE, "--version", "2")
    assert "nothing to roll back to" in trained.refused(*ROLLBACK)
    assert production(trained) == "2"


def test_rollback_to_a_version_by_its_number(trained: Project) -> None:
    trained.do(*PROMOTE, "--version", "2")
    assert "2 → 1" in trained.do(*ROLLBACK, "--version", "1")
    assert production(trained) == "1"
    assert "failed its gate" in trained.refused(*ROLLBACK, "--version", "3")
    assert "already" in trained.refused(*ROLLBACK, "--version", "1")


def test_rollback_before_any_promotion_says_what_to_do(trained: Project) -> None:
    assert "promote.py" in trained.refused(*ROLLBACK)


@pytest.mark.parametrize("command", [PROMOTE, ROLLBACK])
def test_a_version_that_does_not_exist_is_refused(
    trained: Project, command: tuple[str, ...]
) -> None:
    trained.do(*PROMOTE, "--version", "1")
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


def test_nothing_registered_is_said_by_both(project: Project) -> None:
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


def test_every_move_is_recorded_with_its_reason(trained: Project) -> None:
    trained.do(*PROMOTE, "--version", "1")
    trained.do(*PROMOTE, "--version", "2", "--reason", "better on Tuesdays")
    trained.do(*ROLLBACK, "--reason", "worse on Wednesdays")
    moves = registry_of(trained).moves(PRODUCTION)
    assert [(move.from_version, move.to_version) for move in moves] == [
        ("2", "1"),
        ("1", "2"),
        ("", "1"),
    ]
    assert [move.command for move in moves] == ["rollback", "promote", "promote"]
    assert [move.reason for move in moves] == ["worse on Wednesdays", "better on Tuesdays", ""]


def test_another_alias_moves_by_itself(trained: Project) -> None:
    trained.do(*PROMOTE, "--version", "1")
    trained.do(*PROMOTE, "--alias", "staging")
    aliases = {version.number: version.aliases for version in registry_of(trained).versions()}
    assert aliases == {"3": (), "2": ("staging",), "1": (PRODUCTION,)}


def test_the_mirror_follows_each_move(trained: Project) -> None:
    current = trained.root / "registry/current_model.txt"
    trained.do(*PROMOTE, "--version", "1")
    assert current.read_text() == f"{MODEL}/1\n"
    trained.do(*PROMOTE, "--version", "2")
    trained.do(*ROLLBACK)
    assert current.read_text() == f"{MODEL}/1\n"
    mirrored = json.loads((trained.root / "registry/metadata.json").read_text())
    assert {entry["version"]: entry["aliases"] for entry in mirrored}["1"] == [PRODUCTION]


def test_promote_if_unset_leaves_a_version_where_it_is(trained: Project) -> None:
    trained.do(*PROMOTE, "--version", "1")
    assert "version 1 already" in trained.do(*PROMOTE, "--if-unset")
    assert production(trained) == "1"
