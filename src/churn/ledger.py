"""The ledger: every move of an alias, as one append-only chain in MLflow itself.

Each alias has a chain of its own. An entry is a run of the experiment `mlops-lab-01-ledger`, whose
tags say what moved, and it belongs to the chain once the entry before it names it in its parameter
`next`. MLflow never changes a parameter of a run: its database holds one for each run and key. So
of any number of movers that saw the same last entry exactly one comes next, on any backend and from
any machine. It is the compare-and-set that MLflow's aliases lack.

An entry is written in three steps, and a process may die after each:

    RUNNING, not named by the entry before it     nothing has happened; it never will
    RUNNING, named                                decided: the alias may not have been moved yet
    FINISHED, named                               the alias has been moved
"""

import getpass
import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from churn import lineage, runs
from churn.errors import Refused, UserError
from churn.registry import ALIASES, EXPERIMENT, Registry
from churn.rest import MlflowRefused

NAME = f"{EXPERIMENT}-ledger"

_DRAFT = f"{NAME}-[0-9a-f]{{32}}"
_NEXT = "next"
_NO_NUMBER = "-"  # sorts before every number
_PAGE = 50
_LONGEST = 1000
"""How many characters of a text are recorded; MLflow takes 5,000 in a tag."""


@dataclass(frozen=True)
class Move:
    """One move of an alias. A version is empty where the alias points to nothing.

    `forced` says which rule was overridden, if one was; `gate` and `gate_reason` are those of the
    version moved to; `comparison` and its `numbers` say how it compared with the one before.
    """

    alias: str
    from_version: str
    to_version: str
    command: str
    reason: str = ""
    forced: str = ""
    gate: str = ""
    gate_reason: str = ""
    comparison: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    at: str = ""
    who: str = ""
    git_commit: str = ""

    def __str__(self) -> str:
        return f"{self.alias}: {self.from_version or 'none'} → {self.to_version or 'none'}"

    @property
    def told(self) -> str:
        """Who did what and when, as part of a sentence."""
        why = f": {self.reason}" if self.reason else ""
        return (
            f"{self.from_version or 'none'} → {self.to_version or 'none'}, {self.command} by"
            f" {self.who} at {self.at}{why}"
        )


@dataclass(frozen=True)
class Entry:
    """A move in the chain: its run, its number (the first is 0, the opening), the run before it,
    the run after it if there is one, and whether the alias has been moved."""

    run_id: str
    number: int
    previous: str
    next: str
    done: bool
    deleted: bool
    move: Move


@dataclass(frozen=True)
class _Reading:
    """The newest entry of a chain, what was read on the way to it, and what is still to be read."""

    last: Entry | None
    read: dict[str, Entry]
    rest: Iterator[Entry]

    @property
    def undecided(self) -> list[Entry]:
        """What stands beside and above the newest entry, and is not part of the chain."""
        last = self.last
        if last is None:
            return []
        others = [entry for entry in self.read.values() if entry.run_id != last.run_id]
        return [entry for entry in others if entry.number >= last.number]


class Overtaken(Refused):
    """Somebody else moved the alias while this move was being prepared."""


class Ledger:
    """The ledger on one MLflow server. Methods raise Unreachable where it does not answer."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.mlflow = registry.mlflow
        self._known: str | None = None

    def entries(self, alias: str) -> Iterator[Entry]:
        """The chain of the alias, newest first; read page by page, as far as it is asked for."""
        reading = self._read_end(alias)
        entry = reading.last
        while entry:
            yield entry
            entry = self._before(entry, reading) if entry.previous else None

    def moves(self, alias: str) -> Iterator[Move]:
        """The moves of the alias, newest first; the opening is one if the alias had a version."""
        entries = self.entries(alias)
        return (entry.move for entry in entries if entry.number or entry.move.to_version)

    def end(self, alias: str) -> tuple[Entry | None, list[Entry]]:
        """The newest entry of the alias, None where the ledger has not been opened; and what was
        written to come after it and is not decided."""
        reading = self._read_end(alias)
        return reading.last, reading.undecided

    def _read_end(self, alias: str) -> "_Reading":
        """Read from the highest number down to the newest entry of the chain: the first one that
        another names."""
        while True:
            read: dict[str, Entry] = {}
            rest = self._written(alias)
            last = None
            for entry in rest:
                if entry.next or entry.number == 0:
                    last = read.get(entry.next, entry)
                    read[entry.run_id] = entry
                    break
                read[entry.run_id] = entry
            # One that names a successor which was not read was overtaken in the meantime.
            if last is None or not last.next:
                return _Reading(last, read, rest)

    def _before(self, entry: Entry, reading: "_Reading") -> Entry:
        """The entry before this one. MLflow counts its pages from the top, so while others write
        an entry may be missing from them; then it is asked for by itself."""
        read = reading.read
        for other in reading.rest if entry.previous not in read else ():
            read[other.run_id] = other
            if other.run_id == entry.previous:
                break
        return read.get(entry.previous) or self.read(entry.previous)

    def append(self, last: Entry, move: Move) -> Entry:
        """Make the move the entry after `last`. Raises Overtaken where another one is."""
        self._restore(last)
        move = _signed(move)
        tags = {"number": f"{last.number + 1:08}", "previous": last.run_id, **_tags(move)}
        run_id = runs.create(self.mlflow, self._experiment(), str(move), tags)
        if move.numbers:
            entries = runs.metric_entries(move.numbers)
            self.mlflow.post("runs/log-batch", run_id=run_id, metrics=entries)
        try:
            self.mlflow.post("runs/log-parameter", run_id=last.run_id, key=_NEXT, value=run_id)
        except MlflowRefused:
            winner = self.read(last.run_id).next
            if not winner:
                raise
            self._discard(run_id, "FAILED")
            raise Overtaken(
                f"{move.alias} was moved while this command was deciding"
                f" ({self.read(winner).move.told}), so nothing was done;"
                " look at `python src/history.py` and run it again if it is still wanted"
            ) from None
        return Entry(run_id, last.number + 1, last.run_id, "", False, False, move)

    def finish(self, entry: Entry) -> None:
        """Note that the alias has been moved."""
        runs.end(self.mlflow, entry.run_id, "FINISHED")

    def read(self, run_id: str) -> Entry:
        """The entry as it is now."""
        return _entry(self.mlflow.get("runs/get", run_id=run_id)["run"])

    def discard(self, entry: Entry) -> None:
        """Take out an entry that was never decided."""
        self._discard(entry.run_id, "KILLED")

    def open(self) -> None:
        """Make the ledger, with an opening for each alias, unless it is there.

        It is built under a name of its own and renamed, as a file is written beside its place:
        names are unique, so of several that are built at once one becomes the ledger.
        """
        if self._found():
            return
        draft = f"{NAME}-{uuid.uuid4().hex}"
        # MLflow opens an experiment of this kind in the pages for models, not in those for agents.
        kind = {"key": "mlflow.experimentKind", "value": "custom_model_development"}
        experiment = self.mlflow.post("experiments/create", name=draft, tags=[kind])[
            "experiment_id"
        ]
        aliases = self.registry.aliases()
        for alias in ALIASES:
            at = aliases.get(alias, "")
            move = _signed(Move(alias, "", at, "open", "where the alias was before the ledger"))
            tags = {"number": f"{0:08}", "previous": "", **_tags(move)}
            run_id = runs.create(self.mlflow, experiment, f"{alias}: the ledger is opened", tags)
            runs.end(self.mlflow, run_id, "FINISHED")
        try:
            self.mlflow.post("experiments/update", experiment_id=experiment, new_name=NAME)
        except MlflowRefused:
            self.discard_draft(experiment)
            if not self._found():
                raise

    def drafts(self) -> dict[str, datetime]:
        """The ledgers that were begun and are none yet, by the ids of their experiments, and when
        they were begun."""
        found = self.mlflow.pages(
            "experiments/search", "experiments", filter=f"name LIKE '{NAME}-%'", max_results=_PAGE
        )
        return {
            each["experiment_id"]: datetime.fromtimestamp(int(each["creation_time"]) / 1000, UTC)
            for each in found
            if re.fullmatch(_DRAFT, each["name"])
        }

    def discard_draft(self, experiment_id: str) -> None:
        """Take out a ledger that was never finished."""
        self.mlflow.post("experiments/delete", experiment_id=experiment_id)

    def run_url(self, entry: Entry) -> str:
        """The page of the entry in MLflow."""
        return f"{self.mlflow.uri}/#/experiments/{self._experiment()}/runs/{entry.run_id}"

    def _written(self, alias: str) -> Iterator[Entry]:
        """All that was written for the alias, the highest numbers first, whether or not it belongs
        to the chain; what was discarded has no number and is left out."""
        if not self._found():
            return
        found = self.mlflow.pages(
            "runs/search",
            "runs",
            experiment_ids=[self._experiment()],
            filter=f"tags.alias = '{alias}'",
            # An entry stays one when somebody deletes its run in MLflow's pages.
            run_view_type="ALL",
            order_by=["tags.number DESC"],
            max_results=_PAGE,
        )
        for run in found:
            if _tags_of(run)["number"] != _NO_NUMBER:
                yield _entry(run)

    def _experiment(self) -> str:
        experiment = self._found()
        if experiment is None:
            raise UserError(f"MLflow at {self.mlflow.uri} has no experiment {NAME}")
        return experiment

    def _found(self) -> str | None:
        """The id of the ledger's experiment. Raises Refused where it has been deleted."""
        if self._known is None:
            found = self.registry.experiment(NAME)
            if found and found["lifecycle_stage"] == "deleted":
                restore = f"mlflow experiments restore --experiment-id {found['experiment_id']}"
                raise Refused(
                    "the ledger was deleted in MLflow; without it no alias moves. Restore it:"
                    f" MLFLOW_TRACKING_URI={self.mlflow.uri} {restore}"
                )
            self._known = str(found["experiment_id"]) if found else None
        return self._known

    def _restore(self, entry: Entry) -> None:
        """MLflow adds nothing to a run that is deleted."""
        if entry.deleted:
            self.mlflow.post("runs/restore", run_id=entry.run_id)

    def _discard(self, run_id: str, status: str) -> None:
        self.mlflow.post("runs/set-tag", run_id=run_id, key="number", value=_NO_NUMBER)
        runs.end(self.mlflow, run_id, status)


def _signed(move: Move) -> Move:
    """The move with when, by whom and from which commit."""
    return replace(
        move,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        who=f"{_user()}@{socket.gethostname()}",
        git_commit=lineage.git_commit(),
    )


def _user() -> str:
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return str(os.getuid())


_FIELDS = {
    "alias": "alias",
    "from": "from_version",
    "to": "to_version",
    "command": "command",
    "reason": "reason",
    "forced": "forced",
    "gate": "gate",
    "gate_reason": "gate_reason",
    "comparison": "comparison",
    "at": "at",
    "mlflow.user": "who",
    "git_commit": "git_commit",
}
"""The tags of an entry's run and the fields of its move."""


def _tags(move: Move) -> dict[str, str]:
    return {tag: str(getattr(move, name))[:_LONGEST] for tag, name in _FIELDS.items()}


def _entry(run: dict[str, Any]) -> Entry:
    info, data = run["info"], run["data"]
    tags = _tags_of(run)
    params = {param["key"]: param["value"] for param in data.get("params", [])}
    numbers = {metric["key"]: float(metric["value"]) for metric in data.get("metrics", [])}
    return Entry(
        run_id=info["run_id"],
        number=int(tags["number"]),
        previous=tags.get("previous", ""),
        next=params.get(_NEXT, ""),
        done=info["status"] == "FINISHED",
        deleted=info["lifecycle_stage"] == "deleted",
        move=Move(**{name: tags.get(tag, "") for tag, name in _FIELDS.items()}, numbers=numbers),
    )


def _tags_of(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in run["data"].get("tags", [])}
