"""Which version a promotion or a rollback takes, and what speaks against it. Pure rules, no
server."""

from collections.abc import Callable, Iterable

from churn.errors import Refused
from churn.gate import FAILED
from churn.ledger import Move
from churn.registry import MODEL, PRODUCTION, STAGING, Version

PROMOTE, ROLLBACK, EVALUATE = "promote", "rollback", "evaluate"


def newest_passed(versions: list[Version]) -> Version:
    """The newest of `versions` (newest first) that passed its gate. Raises Refused without one."""
    for version in versions:
        if version.passed:
            return version
    newest = versions[0]
    raise Refused(
        f"no version of {MODEL} has passed its gate; the newest, {newest.number},"
        f" {_verdict(newest)}. Improve the model or set another evaluate.gate_f1, then `dvc repro`"
    )


def objection(version: Version | None) -> str:
    """What speaks against a version, as it is recorded, in words that follow its number; empty if
    nothing does."""
    if version is None:
        return "does not exist any more"
    if not version.passed:
        return _verdict(version)
    if version.unservable:
        return f"did not load when it was tried: {version.unservable}"
    return ""


def check_expected(alias: str, at: str, expected: str | None) -> None:
    """Raises Refused where a command expects the alias elsewhere than it is."""
    if expected is not None and at != expected:
        raise Refused(
            f"{alias} is {MODEL} version {at or 'none'}, not {expected or 'none'} as expected;"
            " nothing was moved"
        )


def before(
    current: str, moves: Iterable[Move], objection: Callable[[str], str]
) -> tuple[str | None, list[str]]:
    """The version that the alias pointed to before `current`, by its `moves` (newest first), and
    why others were passed over; None where nothing is left.

    Passed over are versions that were rolled back from (and not moved to again since), and those
    against which `objection`, given a number, says something. So a second rollback goes further
    back, not to and fro. Moves are read as far as they are needed.
    """
    left: dict[str, bool] = {"": True, current: True}
    passed_over: list[str] = []
    for move in moves:
        # The newest move of a version counts: one to it, or one away from it.
        left.setdefault(move.to_version, False)
        candidate = move.from_version
        if left.setdefault(candidate, move.command == ROLLBACK):
            continue
        said = objection(candidate)
        if not said:
            return candidate, passed_over
        passed_over.append(f"version {candidate} {said}")
        left[candidate] = True
    return None, passed_over


def state(version: Version, moves: Iterable[Move]) -> str:
    """Where the version is in its life, by its aliases and the `moves` of production (newest
    first): production, staging, rolled back, retired, rejected or registered."""
    for alias in (PRODUCTION, STAGING):
        if alias in version.aliases:
            return alias
    for move in moves:
        if move.from_version == version.number:
            return "rolled back" if move.command == ROLLBACK else "retired"
    return "rejected" if version.gate == FAILED else "registered"


def _verdict(version: Version) -> str:
    if version.gate == FAILED:
        return f"failed its gate: {version.gate_reason or 'no reason recorded'}"
    return "has not been evaluated yet: `dvc repro` evaluates it"
