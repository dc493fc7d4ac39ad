import pytest

from churn import lifecycle
from churn.errors import Refused
from churn.registry import Move, Tag, Version

PASSED = {Tag.GATE: "passed"}
FAILED = {Tag.GATE: "failed", Tag.GATE_REASON: "F1 0.412 < gate_f1 0.55"}


def version(number: str, tags: dict[str, str] | None = None) -> Version:
    return Version(number, f"run{number}", "2026-01-01", PASSED if tags is None else tags)


def versions(*numbers: str) -> list[Version]:
    """Versions that passed their gate, newest first."""
    return [version(number) for number in sorted(numbers, key=int, reverse=True)]


def history(*steps: str) -> list[Move]:
    """The record of steps such as `promote 2` and `rollback 1`, newest first."""
    moves: list[Move] = []
    current = ""
    for step in steps:
        command, to = step.split()
        moves.append(Move(str(len(moves)), "production", current, to, command, ""))
        current = to
    return moves[::-1]


def rolled_back(*steps: str, among: list[Version] | None = None) -> str:
    """Where a rollback after these steps goes."""
    moves = history(*steps)
    known = among or versions(*{move.to_version for move in moves})
    current = next(v for v in known if v.number == moves[0].to_version)
    return lifecycle.before(current, moves, known).number


def test_promotion_takes_the_newest_version_that_passed() -> None:
    among = [version("4", FAILED), version("3", {}), version("2"), version("1")]
    assert lifecycle.newest_passed(among).number == "2"


def test_without_a_version_that_passed_the_newest_says_why() -> None:
    with pytest.raises(Refused, match=r"the newest, 2, failed its gate: F1 0\.412 < gate_f1 0\.55"):
        lifecycle.newest_passed([version("2", FAILED), version("1", FAILED)])
    with pytest.raises(Refused, match="the newest, 2, has not been evaluated yet"):
        lifecycle.newest_passed([version("2", {}), version("1", FAILED)])


def test_a_version_that_failed_its_gate_is_refused_with_the_reason() -> None:
    with pytest.raises(Refused, match=r"version 3 failed its gate: F1 0\.412 < gate_f1 0\.55"):
        lifecycle.check_passed(version("3", FAILED))


def test_a_version_without_a_verdict_is_refused() -> None:
    with pytest.raises(Refused, match="version 3 has not been evaluated yet"):
        lifecycle.check_passed(version("3", {}))
    lifecycle.check_passed(version("3"))


def test_a_rollback_goes_to_the_version_before() -> None:
    assert rolled_back("promote 1", "promote 2") == "1"
    assert rolled_back("promote 2", "promote 5", "promote 3") == "5"


def test_a_second_rollback_goes_further_back_and_never_to_and_fro() -> None:
    steps = ["promote 1", "promote 2", "promote 3"]
    assert rolled_back(*steps) == "2"
    assert rolled_back(*steps, "rollback 2") == "1"
    with pytest.raises(Refused, match="nothing to roll back to"):
        rolled_back(*steps, "rollback 2", "rollback 1")


def test_there_is_nothing_before_the_first_promotion() -> None:
    with pytest.raises(Refused, match="no version was in production before churn_model version 1"):
        rolled_back("promote 1")


def test_without_any_record_there_is_nothing_to_go_back_to() -> None:
    with pytest.raises(Refused, match="`--version N` takes one by its number"):
        lifecycle.before(version("1"), [], versions("1", "2"))


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
    with pytest.raises(Refused):
        rolled_back(*steps, "rollback 2")


def test_a_version_that_no_longer_exists_is_passed_over() -> None:
    assert rolled_back("promote 1", "promote 2", "promote 3", among=versions("1", "3")) == "1"


def test_a_version_that_has_failed_its_gate_since_is_passed_over() -> None:
    among = [version("3"), version("2", FAILED), version("1")]
    assert rolled_back("promote 1", "promote 2", "promote 3", among=among) == "1"


def test_where_every_earlier_version_is_gone_there_is_nothing_to_go_back_to() -> None:
    with pytest.raises(Refused, match="nothing to roll back to"):
        rolled_back("promote 1", "promote 2", among=versions("2"))


def test_a_record_whose_move_did_not_happen_does_not_mislead() -> None:
    moves = history("promote 1", "promote 2", "promote 3")
    assert lifecycle.before(version("2"), moves, versions("1", "2", "3")).number == "1"


def test_a_rollback_that_was_recorded_and_not_made_is_made_by_the_next() -> None:
    moves = history("promote 1", "promote 2", "rollback 1")
    assert lifecycle.before(version("2"), moves, versions("1", "2")).number == "1"
