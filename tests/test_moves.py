"""Moves of an alias by many at once, killed in between, held up, or overtaken by others' hands."""

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from conftest import PRINTED, moved, registry_of
from movers import die_at
from project import Project, local_environment

from churn import ledger as ledgers
from churn import moves
from churn.errors import Refused
from churn.ledger import Entry, Ledger, Move, Overtaken
from churn.registry import MODEL, PRODUCTION, STAGING

# 200 are four minutes and more on each backend.
ROUNDS = os.environ.get("MOVER_ROUNDS", "60")


def ledger_of(project: Project) -> Ledger:
    return Ledger(registry_of(project))


def told(project: Project, alias: str = PRODUCTION) -> list[str]:
    """The moves of the alias, oldest first."""
    found = [
        f"{m.command} {m.from_version}>{m.to_version}" for m in ledger_of(project).moves(alias)
    ]
    return found[::-1]


def at(project: Project, alias: str = PRODUCTION) -> str | None:
    return registry_of(project).aliases().get(alias)


def in_a_process(work: Callable[[], None]) -> int:
    """Do the work in a forked process; its exit code, negative where a signal ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - a forked process must not go on
            print(repr(error))
            os._exit(99)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_hundreds_of_movers_at_once_some_killed_leave_one_chain(
    registered: Project, record_property: Callable[[str, object], None]
) -> None:
    done = registered.run("python", "tests/movers.py", ROUNDS, "4")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    record_property(PRINTED, counts)
    assert counts["succeeded"] > int(ROUNDS) / 2
    assert counts["killed"] > int(ROUNDS) / 2
    assert counts["refused"] > int(ROUNDS) / 2
    wrong = [
        "breaks of the chain",
        "entries twice",
        "entries lost",
        "entries invented",
        "entries of refused movers",
        "alias elsewhere than the end of the chain",
        "alias not at the end of the chain after the next command",
    ]
    assert {name: counts.get(name, 0) for name in wrong} == dict.fromkeys(wrong, 0)
    assert counts.get("found half done and finished", 0) == counts.get("and said so", 0)
    assert not [name for name in counts if name.startswith("ended")], done.stderr


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_mover_that_is_killed_at_any_request_leaves_a_state_that_the_next_one_understands(
    registered: Project, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "_PATIENCE", 0.0)
    moved(registered, "promote 1")
    ended = None
    for number in range(1, 40):
        before = told(registered)
        here, there = before[-1][-1], "2" if before[-1].endswith("1") else "1"

        def move(number: int = number, there: str = there) -> None:
            die_at(number, when)
            moved(registered, f"promote {there}")

        ended = in_a_process(move)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        standing = moves.stand(ledger_of(registered), PRODUCTION)
        after = told(registered)
        # It has happened as a whole, or not at all.
        assert after in (before, [*before, f"promote {here}>{there}"])
        assert standing.version == at(registered) == after[-1][-1]
    assert ended == 0, "the mover was killed at every request"
    assert number > 8


def test_a_move_that_was_killed_half_way_is_finished_by_the_next_command_which_says_so(
    registered: Project,
) -> None:
    moved(registered, "promote 1")
    server = ledger_of(registered)
    standing = moves.stand(server, PRODUCTION)
    assert standing.last
    server.append(standing.last, Move(PRODUCTION, "1", "2", "promote", "killed after its entry"))
    done = registered.run("python", "src/history.py")
    assert "warning: finished a move of production that was interrupted: 1 → 2" in done.stderr
    assert at(registered) == "2"
    assert "warning" not in registered.run("python", "src/history.py").stderr


def test_a_move_that_was_never_decided_is_taken_out_after_a_minute(
    registered: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved(registered, "promote 1")

    def prepare() -> None:
        die_at(5, "before")  # the request that decides
        moved(registered, "promote 2")

    assert in_a_process(prepare) == -signal.SIGKILL
    server = ledger_of(registered)
    moves.settle(server, PRODUCTION)
    assert server.end(PRODUCTION)[1], "it may be at it still"
    monkeypatch.setattr(moves, "_DEAD", -moves._DEAD)
    moves.settle(server, PRODUCTION)
    assert "was interrupted before anything happened" in capsys.readouterr().err
    assert server.end(PRODUCTION)[1] == []
    assert told(registered) == ["promote >1"]


def test_of_two_that_decide_at_once_the_second_is_refused_with_what_the_first_did(
    registered: Project,
) -> None:
    moved(registered, "promote 1")
    server = ledger_of(registered)
    first, second = (moves.stand(server, PRODUCTION) for _ in range(2))
    moves.move(server, first, Move(PRODUCTION, "1", "2", "promote", "I was here first"))
    with pytest.raises(Overtaken, match=r"1 → 2, promote by .*: I was here first"):
        moves.move(server, second, Move(PRODUCTION, "1", "3", "promote"))
    assert told(registered) == ["promote >1", "promote 1>2"]
    assert server.end(PRODUCTION)[1] == []


def test_one_that_is_held_up_so_long_that_others_went_on_does_not_undo_their_moves(
    registered: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(registered, "promote 1")
    server = ledger_of(registered)
    standing = moves.stand(server, PRODUCTION)
    assert standing.last
    held_up = server.append(standing.last, Move(PRODUCTION, "1", "2", "promote"))
    monkeypatch.setattr(moves, "_PATIENCE", 0.0)
    moved(registered, "promote 3")  # finishes the move to 2 and goes on
    moves.carry_out(server, held_up)
    assert at(registered) == "3"
    assert told(registered) == ["promote >1", "promote 1>2", "promote 2>3"]


def test_a_version_that_is_deleted_while_the_alias_moves_to_it_is_taken_back(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.do("python", "src/start_mlflow.py")
    moved(project, "promote 1")
    server = ledger_of(project)
    standing = moves.stand(server, PRODUCTION)
    server.mlflow.delete("model-versions/delete", name=MODEL, version="2")
    with pytest.raises(Refused, match="production cannot point to churn_model version 2"):
        moves.move(server, standing, Move(PRODUCTION, "1", "2", "promote"))
    assert told(project) == ["promote >1", "promote 1>2", "undo 2>1"]
    assert at(project) == "1"
    moved(project, "promote 3")
    assert at(project) == "3"

    # The same where the mover is killed: the next command takes it back, and says so.
    standing = moves.stand(server, PRODUCTION)
    assert standing.last
    server.append(standing.last, Move(PRODUCTION, "3", "2", "promote"))
    moves.stand(server, PRODUCTION)
    assert "cannot point to churn_model version 2" in capsys.readouterr().err
    assert told(project)[-2:] == ["promote 3>2", "undo 2>3"]
    assert at(project) == "3"


def test_what_was_moved_outside_the_ledger_is_recorded_before_the_next_move(
    registered: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    moved(registered, "promote 1")
    registry_of(registered).point(PRODUCTION, "3")
    moved(registered, "promote 2")
    assert "production: 1 → 3 was moved outside the ledger" in capsys.readouterr().err
    assert told(registered) == ["promote >1", "outside 1>3", "promote 3>2"]


def test_where_the_aliases_were_before_the_ledger_is_its_beginning(registered: Project) -> None:
    registry_of(registered).point(PRODUCTION, "2")
    moved(registered, "promote 1")
    assert told(registered) == ["open >2", "promote 2>1"]


def test_of_ledgers_that_are_opened_at_once_one_is_left(registered: Project) -> None:
    command = ["python", "-c", OPEN]
    environment = local_environment(MLFLOW_TRACKING_URI=registered.mlflow_uri)
    before = ledger_of(registered).drafts()
    openers = [subprocess.Popen(command, cwd=registered.root, env=environment) for _ in range(6)]
    assert [opener.wait() for opener in openers] == [0] * 6
    assert ledger_of(registered).drafts() == before
    assert [entry.number for entry in ledger_of(registered).entries(STAGING)] == [0]


def test_a_ledger_whose_opening_was_interrupted_is_taken_out(
    registered: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledger_of(registered)
    made = ledger.mlflow.post("experiments/create", name=f"{ledgers.NAME}-{uuid.uuid4().hex}")
    moves.settle_openings(ledger)
    assert made["experiment_id"] in ledger.drafts()  # it may be going on
    monkeypatch.setattr(moves, "_DEAD", timedelta(0))
    moves.settle_openings(ledger)
    assert ledger.drafts() == {}
    assert "the opening of a ledger was interrupted" in capsys.readouterr().err


OPEN = """
import sys
sys.path.insert(0, "src")
from churn.environment import read_environment
from churn.ledger import Ledger
from churn.registry import Registry
from churn.rest import Mlflow
Ledger(Registry(Mlflow(read_environment()))).open()
"""


def test_a_ledger_that_was_deleted_in_mlflow_stops_all_moves_and_says_how_to_restore_it(
    registered: Project,
) -> None:
    moved(registered, "promote 1", "promote 2")
    found = registry_of(registered).experiment(ledgers.NAME)
    assert found
    registry_of(registered).mlflow.post("experiments/delete", experiment_id=found["experiment_id"])
    line = registered.refused("python", "src/rollback.py")
    advice = f"mlflow experiments restore --experiment-id {found['experiment_id']}"
    assert advice in line
    registered.do(*advice.split())
    assert "2 → 1" in registered.do("python", "src/rollback.py")


def test_entries_whose_runs_were_deleted_in_mlflow_are_entries_still(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2", "promote 3")
    for entry in list(ledger_of(registered).entries(PRODUCTION)):
        registry_of(registered).mlflow.post("runs/delete", run_id=entry.run_id)
    moved(registered, "rollback 2")
    assert told(registered) == ["promote >1", "promote 1>2", "promote 2>3", "rollback 3>2"]


def test_a_long_chain_is_read_page_by_page_and_no_further_than_asked(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "_PAGE", 3)
    moved(trained, *(f"promote {1 + number % 2}" for number in range(10)))
    entries = list(ledger_of(trained).entries(PRODUCTION))
    assert [entry.number for entry in entries] == list(range(10, -1, -1))
    first: Entry = next(ledger_of(trained).entries(PRODUCTION))
    assert first.number == 10


def test_what_is_recorded_of_a_move(registered: Project) -> None:
    server = ledger_of(registered)
    standing = moves.stand(server, PRODUCTION)
    move = Move(
        PRODUCTION,
        "",
        "2",
        "promote",
        "because",
        "was bad",
        "failed",
        "F1 low",
        "0.1",
        {"f1": 0.25},
    )
    entry = moves.move(server, standing, move)
    read = server.read(entry.run_id)
    assert (read.number, read.done, read.deleted, read.next) == (1, True, False, "")
    recorded = vars(read.move)
    assert {name: recorded[name] for name in ("reason", "forced", "gate", "gate_reason")} == {
        "reason": "because",
        "forced": "was bad",
        "gate": "failed",
        "gate_reason": "F1 low",
    }
    assert recorded["numbers"] == {"f1": 0.25}
    assert recorded["at"].startswith("20") and "@" in recorded["who"]
    commit = registered.do("git", "rev-parse", "HEAD").strip()
    assert len(recorded["git_commit"]) == len(commit)


def test_a_text_that_is_longer_than_mlflow_takes_is_cut(registered: Project) -> None:
    standing = moves.stand(ledger_of(registered), PRODUCTION)
    move = Move(PRODUCTION, "", "2", "promote", "ü" * 9000)
    entry = moves.move(ledger_of(registered), standing, move)
    assert ledger_of(registered).read(entry.run_id).move.reason == "ü" * 1000
