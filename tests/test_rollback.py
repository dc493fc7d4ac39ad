"""rollback.py, against a real MLflow server on SQLite and on PostgreSQL."""

from conftest import moved, registry_of
from project import Project

from churn.ledger import Ledger
from churn.registry import MODEL, PRODUCTION, Tag

ROLLBACK = ("python", "src/rollback.py")


def production(project: Project) -> str | None:
    return registry_of(project).aliases().get(PRODUCTION)


def tag(project: Project, number: str, key: str, value: str) -> None:
    registry_of(project).mlflow.post(
        "model-versions/set-tag", name=MODEL, version=number, key=key, value=value
    )


def test_it_goes_back_to_what_was_in_production(registered: Project) -> None:
    moved(registered, "promote 2", "promote 1")
    assert "production: 1 → 2" in registered.do(*ROLLBACK)
    assert production(registered) == "2"


def test_a_second_one_goes_further_back_and_not_to_and_fro(registered: Project) -> None:
    moved(registered, "promote 1", "promote 3", "promote 2")
    tag(registered, "3", Tag.GATE, "passed")
    assert "2 → 3" in registered.do(*ROLLBACK)
    assert "3 → 1" in registered.do(*ROLLBACK)
    assert "nothing to roll back to" in registered.refused(*ROLLBACK)
    assert production(registered) == "1"
    tag(registered, "3", Tag.GATE, "failed")


def test_a_version_with_a_lower_number_that_was_never_in_production_is_not_taken(
    registered: Project,
) -> None:
    moved(registered, "promote 2")
    assert "nothing to roll back to" in registered.refused(*ROLLBACK)
    assert production(registered) == "2"


def test_what_failed_its_gate_is_passed_over_and_named(registered: Project) -> None:
    moved(registered, "promote 1", "promote 3", "promote 2")
    said = registered.do(*ROLLBACK)
    assert "passed over: version 3 failed its gate: F1 " in said
    assert "2 → 1" in said


def test_what_did_not_load_is_passed_over_and_named(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2", "promote 3")
    tag(registered, "2", Tag.SERVABLE, "its model cannot be loaded")
    said = registered.do(*ROLLBACK)
    assert "passed over: version 2 did not load when it was tried: its model cannot" in said
    assert "3 → 1" in said
    tag(registered, "2", Tag.SERVABLE, "yes")


def test_a_version_that_was_deleted_is_passed_over(project: Project) -> None:
    project.do("python", "src/start_mlflow.py")
    moved(project, "promote 1", "promote 2", "promote 3")
    registry_of(project).mlflow.delete("model-versions/delete", name=MODEL, version="2")
    said = project.do(*ROLLBACK)
    assert "version 2 does not exist any more" in said
    assert "3 → 1" in said


def test_a_version_whose_files_are_gone_is_passed_over(project: Project) -> None:
    project.do("python", "src/start_mlflow.py")
    moved(project, "promote 1", "promote 2", "promote 3")
    uri = registry_of(project).artifact_uri("2")
    folder = project.root / "mlflow/artifacts" / uri.partition(":/")[2]
    folder.rename(folder.with_name("elsewhere"))
    said = project.do(*ROLLBACK)
    assert "version 2 cannot be loaded: " in said
    assert "3 → 1" in said


def test_any_version_that_was_in_production_can_be_named(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2", "rollback 1")
    assert "1 → 2" in registered.do(*ROLLBACK, "--version", "2")
    assert "already" in registered.refused(*ROLLBACK, "--version", "2")


def test_one_that_was_never_in_production_or_failed_its_gate_needs_force(
    registered: Project,
) -> None:
    moved(registered, "promote 2")
    line = registered.refused(*ROLLBACK, "--version", "1")
    assert "version 1 was never in production" in line
    assert "--force --reason" in line
    line = registered.refused(*ROLLBACK, "--version", "3")
    assert "version 3 was never in production and failed its gate: F1 " in line
    assert production(registered) == "2"

    forced = ("--force", "--reason", "the only one with the new column")
    assert "2 → 3" in registered.do(*ROLLBACK, "--version", "3", *forced)
    last = next(Ledger(registry_of(registered)).moves(PRODUCTION))
    assert last.reason == "the only one with the new column"
    assert last.forced.startswith("was never in production; failed its gate: F1 ")
    assert (last.gate, last.command) == ("failed", "rollback")


def test_force_without_a_reason_is_wrong_usage(template: Project) -> None:
    assert "--reason" in template.refused(*ROLLBACK, "--version", "3", "--force", code=2)


def test_expect_refuses_when_somebody_was_faster(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2")
    line = registered.refused(*ROLLBACK, "--expect", "1")
    assert "production is churn_model version 2, not 1 as expected" in line
    assert "2 → 1" in registered.do(*ROLLBACK, "--expect", "2")


def test_a_dry_run_says_what_would_happen_and_does_nothing(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2")
    assert "would move production: 2 → 1" in registered.do(*ROLLBACK, "--dry-run")
    assert production(registered) == "2"
    assert len(list(Ledger(registry_of(registered)).moves(PRODUCTION))) == 2


def test_a_dry_run_before_the_ledger_is_opened_does_not_open_it(registered: Project) -> None:
    registry_of(registered).point(PRODUCTION, "1")
    assert "nothing to roll back to" in registered.refused(*ROLLBACK, "--dry-run")
    assert list(Ledger(registry_of(registered)).entries(PRODUCTION)) == []


def test_what_was_moved_outside_the_ledger_was_in_production_too(registered: Project) -> None:
    moved(registered, "promote 1")
    registry_of(registered).point(PRODUCTION, "2")
    assert "would move production: 2 → 1" in registered.do(*ROLLBACK, "--dry-run")
    done = registered.run(*ROLLBACK)
    assert "warning: production: 1 → 2 was moved outside the ledger" in done.stderr
    assert "production: 2 → 1" in done.stdout
    commands = [move.command for move in Ledger(registry_of(registered)).moves(PRODUCTION)]
    assert commands == ["rollback", "outside", "promote"]


def test_an_alias_that_was_deleted_outside_the_ledger_is_brought_back(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2")
    registry_of(registered).point(PRODUCTION, "")
    assert "production: none → 2" in registered.do(*ROLLBACK)


def test_before_any_promotion_it_says_what_to_do(registered: Project) -> None:
    assert "promote.py" in registered.refused(*ROLLBACK)


def test_the_reason_is_recorded(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2")
    registered.do(*ROLLBACK, "--reason", "calls everybody on Mondays")
    last = next(Ledger(registry_of(registered)).moves(PRODUCTION))
    assert last.reason == "calls everybody on Mondays"
    assert (last.from_version, last.to_version, last.command) == ("2", "1", "rollback")
    assert "@" in last.who
    assert len(last.git_commit) == 40
