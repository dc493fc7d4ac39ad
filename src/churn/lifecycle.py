"""Which version a promotion or a rollback takes, and which it refuses. Pure rules, no server."""

from churn.errors import Refused
from churn.gate import FAILED
from churn.registry import MODEL, Move, Version

PROMOTE, ROLLBACK = "promote", "rollback"


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


def check_passed(version: Version) -> None:
    """Raises Refused, with the gate's reason, for a version that has not passed its gate."""
    if not version.passed:
        raise Refused(f"{MODEL} version {version.number} {_verdict(version)}; it stays where it is")


def before(current: Version, moves: list[Move], versions: list[Version]) -> Version:
    """The version that the alias pointed to before `current`, by its `moves` (newest first).

    Versions that were rolled back from (and not promoted again since), that no longer exist or
    that have not passed their gate are passed over. So a second rollback goes further back.
    Raises Refused where nothing is left.
    """
    existing = {version.number: version for version in versions}
    away = _rolled_back_from(moves)
    for move in moves:
        candidate = existing.get(move.from_version)
        if candidate is None or candidate.number in away or candidate.number == current.number:
            continue
        if candidate.passed:
            return candidate
    raise Refused(
        f"there is nothing to roll back to: no version was in production before"
        f" {MODEL} version {current.number}; `--version N` takes one by its number"
    )


def _rolled_back_from(moves: list[Move]) -> set[str]:
    away: set[str] = set()
    for move in reversed(moves):
        if move.command == ROLLBACK:
            away.add(move.from_version)
        away.discard(move.to_version)
    return away


def _verdict(version: Version) -> str:
    if version.gate == FAILED:
        return f"failed its gate: {version.tags.get('gate_reason', 'no reason recorded')}"
    return "has not been evaluated yet: `dvc repro` evaluates it"
