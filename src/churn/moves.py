"""Moving an alias: as a whole, with its entry in the ledger, or not at all.

The entry decides; the alias follows it. So whoever finds an entry whose alias was not moved,
because its process was killed in between, moves the alias; and whoever finds the alias elsewhere
than the last entry says knows that it was moved by other means.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from churn import cli
from churn.errors import Refused
from churn.ledger import Entry, Ledger, Move, Overtaken
from churn.registry import MODEL
from churn.rest import MlflowRefused

OUTSIDE = "outside"
"""The command of a move that the ledger has not seen: in MLflow's pages, or by another program."""

UNDO = "undo"
"""The command of an entry that takes the one before it back, whose version is gone."""

# A move takes a fraction of a second from its entry to its alias. Whoever has waited this long for
# it is not writing to the alias at the same time.
_PATIENCE = 2.0
_DEAD = timedelta(seconds=60)


@dataclass(frozen=True)
class Standing:
    """Where an alias stands: at `version` (empty where it points to nothing), after `moves`, the
    newest first. A move is made from `last`, the newest entry of its chain."""

    version: str
    moves: Iterator[Move]
    last: Entry | None = None


def stand(ledger: Ledger, alias: str) -> Standing:
    """Where the alias stands, after what was left half done has been finished, and what happened
    outside the ledger has been written into it."""
    ledger.open()
    while True:
        last = settle(ledger, alias)
        assert last is not None  # noqa: S101 - the ledger is open
        outside = _outside(ledger, alias, last)
        if outside is None:
            return Standing(last.move.to_version, ledger.moves(alias), last)
        try:
            entry = ledger.append(last, outside)
        except Overtaken:  # it was moved since `last` was read, and by the ledger
            continue
        ledger.finish(entry)
        cli.warn(f"{outside} was moved outside the ledger; it is recorded now")
        return Standing(outside.to_version, ledger.moves(alias), entry)


def look(ledger: Ledger, alias: str) -> Standing:
    """Where stand() would find the alias, with nothing finished and nothing written."""
    last, _ = ledger.end(alias)
    if last is None:
        return Standing(ledger.registry.aliases().get(alias, ""), iter(()))
    outside = _outside(ledger, alias, last) if last.done else None
    new = [outside] if outside else []
    version = outside.to_version if outside else last.move.to_version
    return Standing(version, chain(new, ledger.moves(alias)))


def _outside(ledger: Ledger, alias: str, last: Entry) -> Move | None:
    """The move that took the alias away from where the ledger has it, if there was one."""
    at = ledger.registry.aliases().get(alias, "")
    if at == last.move.to_version:
        return None
    why = f"found at version {at}" if at else "found to point to nothing"
    return Move(alias, last.move.to_version, at, OUTSIDE, why)


def settle(ledger: Ledger, alias: str) -> Entry | None:
    """The last entry of the alias, after it has been carried out; None without a ledger.

    One that is being carried out by another process is waited for; one whose process has died is
    carried out here. One that was prepared a minute ago and never decided is taken out.
    """
    while True:
        last, undecided = _waited_for(ledger, alias)
        if last is None or last.done:
            break
        try:
            carry_out(ledger, last)
        except Refused as error:
            cli.warn(f"a move of {alias} was interrupted ({last.move.told}): {error}")
            continue
        cli.warn(f"finished a move of {alias} that was interrupted: {last.move.told}")
        break
    for entry in undecided:
        if datetime.now(UTC) - datetime.fromisoformat(entry.move.at) > _DEAD:
            ledger.discard(entry)
            cli.warn(
                f"a move of {alias} was interrupted before anything happened, and is taken out:"
                f" {entry.move.told}"
            )
    return last


def settle_openings(ledger: Ledger) -> None:
    """Take out the ledgers that processes began to build, and then ended."""
    for experiment_id, begun in ledger.drafts().items():
        if datetime.now(UTC) - begun > _DEAD:
            ledger.discard_draft(experiment_id)
            cli.warn("the opening of a ledger was interrupted, and is taken out")


def _waited_for(ledger: Ledger, alias: str) -> tuple[Entry | None, list[Entry]]:
    """The end of the chain, as soon as its last entry is done or has had the time to be."""
    last, undecided = ledger.end(alias)
    end = time.monotonic() + _PATIENCE
    while last and not last.done and time.monotonic() < end:
        time.sleep(0.05)
        before = last
        last, undecided = ledger.end(alias)
        if last and last.run_id != before.run_id:
            end = time.monotonic() + _PATIENCE
    return last, undecided


def move(ledger: Ledger, standing: Standing, to: Move) -> Entry:
    """Make the move from where the alias stands. Raises Overtaken where it stands there no longer;
    then nothing was done."""
    assert standing.last is not None  # noqa: S101 - stand() and not look() was asked
    return carry_out(ledger, ledger.append(standing.last, to))


def carry_out(ledger: Ledger, entry: Entry) -> Entry:
    """Point the alias to where the entry, the last of its chain, says. Raises Refused, with the
    entry taken back by another one, where MLflow does not let it."""
    alias = entry.move.alias
    try:
        ledger.registry.point(alias, entry.move.to_version)
    except MlflowRefused as error:
        _take_back(ledger, entry, str(error))
        raise Refused(
            f"{alias} cannot point to {MODEL} version {entry.move.to_version} ({error}), and stays"
            f" at {entry.move.from_version or 'none'}"
        ) from None
    last = ledger.read(entry.run_id)
    while last.next:
        # This process was held up for so long that others finished the entry and went on. What it
        # has written to the alias just now is older than what they wrote.
        newest, _ = ledger.end(alias)
        assert newest is not None  # noqa: S101 - the chain only grows
        ledger.registry.point(alias, newest.move.to_version)
        last = ledger.read(newest.run_id)
    ledger.finish(entry)
    return entry


def _take_back(ledger: Ledger, entry: Entry, reason: str) -> None:
    there = ledger.registry.aliases().get(entry.move.alias, "")
    back = Move(entry.move.alias, entry.move.to_version, there, UNDO, reason)
    try:
        ledger.finish(ledger.append(entry, back))
    except Overtaken:  # somebody else has taken it back
        return
    ledger.finish(entry)
