"""The version that an API process serves, and the thread that follows the alias."""

import random
import re
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np

from churn import scorer
from churn.environment import Environment
from churn.errors import UserError
from churn.registry import MODEL, PRODUCTION, Registry, Version
from churn.request import RowReader
from churn.rest import Mlflow, NotFound
from churn.scorer import NotServable, Scorer
from churn.traffic import Predictions
from churn.workers import Board

# Versions that were served stay loaded, so that a rollback takes over without a download.
_KEPT = 3

_WARMING = 20

# A server that is gone for a while must not hold the thread for longer than it takes to notice.
_TIMEOUT = httpx.Timeout(30.0, connect=2.0)


@dataclass(frozen=True)
class Served:
    """One loaded version with all that answering needs. Replaced as a whole, never changed."""

    version: Version
    scorer: Scorer
    reader: RowReader
    counted: Predictions
    mlflow_version: str
    loaded_at: str

    @classmethod
    def load(cls, registry: Registry, version: Version) -> "Served":
        """Download and load the version. Raises NotServable, or UserError for the download."""
        uri = registry.artifact_uri(version.number)
        try:
            loaded = scorer.load(
                registry.mlflow.get_artifact(f"{uri}/{scorer.SCORER_FILE}"),
                registry.mlflow.get_artifact(f"{uri}/{scorer.SCHEMA_FILE}"),
                version.tags,
            )
            described = registry.mlflow.get_artifact(f"{uri}/MLmodel").decode(errors="replace")
        except NotFound as error:
            raise NotServable(f"a file that serving needs is missing: {error}") from None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        logged_by = re.search(r"^mlflow_version: (\S+)", described, re.MULTILINE)
        served = cls(
            version=version,
            scorer=loaded,
            reader=RowReader(loaded.schema, loaded.encoding),
            counted=Predictions(version.number),
            mlflow_version=logged_by[1] if logged_by else "",
            loaded_at=now,
        )
        served.warm_up()
        return served

    def warm_up(self) -> None:
        """Make the first request as fast as any."""
        given = self.scorer.schema.given_example
        for _ in range(_WARMING):
            vector, _warnings = self.reader.read(dict(given))
            self.scorer.probabilities(np.array([vector]))


class AliasFollower:
    """Keeps `served` equal to what the alias `production` points to, from a thread of its own.

    The old version serves until the new one has been loaded and has answered its own example; a
    version that cannot be loaded leaves the old one where it is, and `problem` says why. Reading
    the attributes takes no lock: each is replaced in one step.
    """

    def __init__(self, environment: Environment) -> None:
        self.served: Served | None = None
        self.desired: str | None = None
        self.problem: str | None = "not looked yet"
        self.looked = False
        self._registry = Registry(Mlflow(environment, _TIMEOUT))
        self._pause = environment.RELOAD_SECONDS
        self._refused: tuple[str, str] | None = None
        self._kept: dict[str, Served] = {}
        self._board = Board()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alias-follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self.problem = self._look()
            except UserError as error:
                self.problem = str(error)
            except Exception as error:  # noqa: BLE001 - the thread must live; /model shows it
                self.problem = f"unexpected: {error!r}"
            self.looked = True
            self._board.post(self._brief())
            # Never more than the pause from one look to the next, and not all processes at once.
            pause = self._pause * random.uniform(0.8, 0.95)  # noqa: S311
            self._stop.wait(max(0.0, pause - (time.monotonic() - started)))

    def _look(self) -> str | None:
        """Compare the alias with what is served, and swap if they differ; what is wrong, if so.

        Versions are told apart by their runs: a new database numbers its versions from 1 again.
        """
        version = self._registry.at_alias(PRODUCTION)
        self.desired = version.number if version else None
        if version is None:
            return f"no version of {MODEL} is in production: python src/promote.py puts one there"
        if self.served and self.served.version.run_id == version.run_id:
            return None
        if self._refused and self._refused[0] == version.run_id:
            return self._refused[1]
        try:
            self.served = self._loaded(version)
        except NotServable as error:
            self._refused = (version.run_id, f"version {version.number} is refused: {error}")
            return self._refused[1]
        self._refused = None
        return None

    def _loaded(self, version: Version) -> Served:
        """The version, as it was loaded when it was served before, or from MLflow."""
        kept = self._kept.pop(version.run_id, None)
        if kept is None:
            served = Served.load(self._registry, version)
        else:
            # Its tags may have changed since, as the gate's verdict does.
            now = datetime.now(UTC).isoformat(timespec="seconds")
            served = replace(kept, version=version, loaded_at=now)
        self._kept[version.run_id] = served
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return served

    def _brief(self) -> dict[str, Any]:
        served = self.served
        return {
            "served_version": served and served.version.number,
            "desired_version": self.desired,
            "problem": self.problem,
        }

    def state(self) -> dict[str, Any]:
        """What is served, what should be, and why they differ, for GET /model; of this worker, and
        in brief of each."""
        served = self.served
        return {
            "model_name": MODEL,
            "alias": PRODUCTION,
            "served": served and _described(served),
            "desired_version": self.desired,
            "problem": self.problem,
            "workers": self._board.read(),
        }


def _described(served: Served) -> dict[str, Any]:
    schema = served.scorer.schema
    return {
        "version": served.version.number,
        "loaded_at": served.loaded_at,
        "threshold": schema.threshold,
        "target": schema.target,
        "positive": schema.positive,
        "gate": served.version.gate,
        "lineage": served.version.lineage,
        "features": schema.features,
        "example": schema.given_example,
    }
