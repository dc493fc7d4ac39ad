from random import Random

import pytest

from churn import lifecycle
from churn.errors import Refused
from churn.ledger import Move
from churn.lifecycle import before, check_expected, objection, state
from churn.registry import PRODUCTION, Tag, Version

PASSED = {Tag.GATE: "passed"}
FAILED = {Tag.GATE: "failed", Tag.GATE_REASON: "F1 0.412 < gate_f1 0.55"}


def version(number: str, tags: dict[str, str] | None = None) -> Version:
    return Version(number, f"run{number}", "2026-01-01", PASSED if tags is None else tags)


def history(*steps: str) -> list[Move]:
    """The moves of steps such as `promote 2` and `rollback 1`, newest first."""
    moves: list[Move] = []
    current = ""
    for step in steps:
        command, to = step.split()
        moves.append(Move(PRODUCTION, current, to, command))
        current = to
    return moves[::-1]


def rolled_back(*steps: str, against: tuple[str, ...] = ()) -> str | None:
    """Where a rollback after these steps goes, if something speaks against some versions."""
    moves = history(*steps)
    to, _ = before(moves[0].to_version, moves, lambda number: "is bad" * (number in against))
    return to


def test_promotion_takes_the_newest_version_that_passed() -> None:
    among = [version("4", FAILED), version("3", {}), version("2"), version("1")]
    assert lifecycle.newest_passed(among).number == "2"


def test_without_a_version_that_passed_the_newest_says_why() -> None:
    with pytest.raises(Refused, match=r"the newest, 2, failed its gate: F1 0\.412 < gate_f1 0\.55"):
        lifecycle.newest_passed([version("2", FAILED), version("1", FAILED)])
    with pytest.raises(Refused, match="the newest, 2, has not been evaluated yet"):
        lifecycle.newest_passed([version("2", {}), version("1", FAILED)])


def test_what_speaks_against_a_version() -> None:
    assert objection(version("3")) == ""
    assert objection(None) == "does not exist any more"
    assert objection(version("3", FAILED)) == "failed its gate: F1 0.412 < gate_f1 0.55"
    assert objection(version("3", {})).startswith("has not been evaluated yet")
    broken = {**PASSED, Tag.SERVABLE: "its model cannot be loaded"}
    assert objection(version("3", broken)).endswith("its model cannot be loaded")
    assert objection(version("3", {**PASSED, Tag.SERVABLE: "yes"})) == ""


def test_a_rollback_goes_to_the_version_before() -> None:
    assert rolled_back("promote 1", "promote 2") == "1"
    assert rolled_back("promote 2", "promote 5", "promote 3") == "5"


def test_a_second_rollback_goes_further_back_and_never_to_and_fro() -> None:
    steps = ["promote 1", "promote 2", "promote 3"]
    assert rolled_back(*steps) == "2"
    assert rolled_back(*steps, "rollback 2") == "1"
    assert rolled_back(*steps, "rollback 2", "rollback 1") is None


def test_there_is_nothing_before_the_first_promotion() -> None:
    assert rolled_back("promote 1") is None
    assert before("1", [], lambda number: "") == (None, [])


def test_a_version_that_was_rolled_back_from_is_passed_over() -> None:
    assert rolled_back("promote 1", "promote 2", "rollback 1", "promote 3") == "1"


def test_a_promotion_makes_a_version_eligible_again() -> None:
    steps = ["promote 1", "promote 2", "rollback 1", "promote 2", "promote 3"]
    assert rolled_back(*steps) == "2"


def test_a_rollback_by_number_makes_its_version_eligible_again() -> None:
    steps = ["promote 1", "promote 2", "promote 3", "rollback 2", "rollback 3", "promote 4"]
    assert rolled_back(*steps) == "3"


def test_a_version_that_was_promoted_twice_is_not_before_itself() -> None:
    steps = ["promote 1", "promote 2", "promote 1"]
    assert rolled_back(*steps) == "2"
    assert rolled_back(*steps, "rollback 2") is None


def test_what_something_speaks_against_is_passed_over_and_said_once() -> None:
    moves = history("promote 1", "promote 2", "promote 3", "promote 2", "promote 4")
    said = {"2": "is gone", "3": "is bad"}
    found = before("4", moves, lambda number: said.get(number, ""))
    assert found == ("1", ["version 2 is gone", "version 3 is bad"])


def test_where_something_speaks_against_every_earlier_version_there_is_none() -> None:
    assert rolled_back("promote 1", "promote 2", against=("1",)) is None


def test_moves_are_read_no_further_than_needed() -> None:
    moves = iter(history("promote 1", "promote 2", "promote 3"))
    assert before("3", moves, lambda number: "")[0] == "2"
    assert len(list(moves)) == 2


def test_an_alias_that_points_to_nothing_goes_back_to_what_it_pointed_to() -> None:
    moves = [Move(PRODUCTION, "2", "", "outside"), *history("promote 1", "promote 2")]
    assert before("", moves, lambda number: "")[0] == "2"


def test_a_model_of_all_moves_agrees() -> None:
    """Against the plain rule: the newest earlier version that was not left by a rollback since."""
    random = Random(7)  # noqa: S311
    for _ in range(500):
        moves: list[Move] = []
        current = ""
        for _ in range(random.randint(1, 8)):
            to = random.choice([n for n in "1234" if n != current])
            command = random.choice(["promote", "rollback"])
            moves.insert(0, Move(PRODUCTION, current, to, command))
            current = to
        left = set()
        for move in reversed(moves):
            if move.command == "rollback":
                left.add(move.from_version)
            left.discard(move.to_version)
        wanted = [
            move.from_version
            for move in moves
            if move.from_version not in ("", current) and move.from_version not in left
        ]
        assert before(current, moves, lambda number: "")[0] == (wanted[0] if wanted else None)


@pytest.mark.parametrize(
    ("steps", "states"),
    [
        ([], "registered"),
        (["promote 1"], "production"),
        (["promote 1", "promote 2"], "retired"),
        (["promote 1", "rollback 2"], "rolled back"),
        (["promote 1", "rollback 2", "promote 1", "promote 2"], "retired"),
    ],
)
def test_where_a_version_is_in_its_life(steps: list[str], states: str) -> None:
    moves = history(*steps)
    aliases = (PRODUCTION,) if moves and moves[0].to_version == "1" else ()
    assert state(Version("1", "run", "2026", PASSED, aliases), moves) == states


def test_a_version_that_was_never_moved_to_is_rejected_or_in_staging_or_registered() -> None:
    assert state(version("1", FAILED), []) == "rejected"
    assert state(version("1", {}), []) == "registered"
    assert state(Version("1", "run", "2026", FAILED, ("staging",)), []) == "staging"


def test_an_expected_version_is_checked() -> None:
    check_expected("production", "2", None)
    check_expected("production", "2", "2")
    with pytest.raises(Refused, match="production is churn_model version 2, not none as expected"):
        check_expected("production", "2", "")
