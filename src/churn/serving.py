"""The thread of an API process that follows the alias, and what the process serves."""

import ctypes
import gc
import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from churn import paths, traffic
from churn.environment import Environment
from churn.errors import UserError
from churn.http import httpx
from churn.last_known_good import LastKnownGood, NotKept, VersionFiles
from churn.registry import MODEL, PRODUCTION, Registry, Version
from churn.rest import Mlflow
from churn.scorer import NotServable
from churn.served import Served, download, now
from churn.workers import Board

# Versions that were served stay loaded, so that a rollback takes over without a download.
_KEPT = 3

# A server that is gone for a while must not hold the thread for longer than it takes to notice.
_TIMEOUT = httpx.Timeout(10.0, connect=2.0)


NOTHING_IN_PRODUCTION = (
    f"no version of {MODEL} is in production: python src/promote.py puts one there"
)

_log = logging.getLogger("churn")


def give_back_memory() -> None:
    """Let the system have what loading has freed: after a forest 50 MB, which glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@dataclass(frozen=True)
class Refusal:
    """A version in production that this process does not serve, and why. It is not tried again
    before its run or its tags, which hold the hashes of its files, are others."""

    number: str
    run_id: str
    tags: Mapping[str, str]
    reason: str

    def holds_for(self, version: Version) -> bool:
        return (self.run_id, self.tags) == (version.run_id, version.tags)

    def __str__(self) -> str:
        return f"version {self.number} is refused: {self.reason}"


class AliasFollower:
    """Keeps `served` equal to what the alias `production` points to, from a thread of its own.

    The old version serves until the new one has been loaded and has answered its own example; a
    version that cannot be had or loaded leaves the old one where it is, and `problem` says why.
    Where there is no old one, as after a start, it is the one that was served last before: then
    `last_known_good` is true until MLflow confirms it. Reading the attributes takes no lock: each
    is replaced in one step.
    """

    def __init__(self, environment: Environment) -> None:
        self.served: Served | None = None
        self.desired: str | None = None
        self.problem: str | None = "not looked yet"
        self.refused: Refusal | None = None
        self.last_known_good = False
        self.looked = False
        self._registry = Registry(Mlflow(environment, _TIMEOUT))
        self._pause = environment.RELOAD_SECONDS
        folder = paths.folder(environment.MODEL_CACHE)
        self._disk = LastKnownGood(folder) if folder else None
        self._kept: dict[str, Served] = {}
        self.cache_problem = ""
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
            self.problem = self._look()
            self.looked = True
            self._board.post(self._brief())
            # Each look leaves 45 objects of httpx in cycles. By itself Python would look for them
            # when they are 50,000 (see api.py), which are 11 MB.
            gc.collect(0)
            # Never more than the pause from one look to the next, and not all processes at once.
            pause = self._pause * random.uniform(0.8, 0.95)  # noqa: S311 # nosec B311
            self._stop.wait(max(0.0, pause - (time.monotonic() - started)))

    def _look(self) -> str | None:
        """Follow the alias; what is wrong, if something is."""
        try:
            said = self._follow()
        except UserError as error:
            said = str(error)
        except Exception:  # noqa: BLE001 - the thread must live
            _log.exception("following the alias failed")
            said = "following the alias failed; the log of the API tells more"
        return self._fall_back(said) if said else None

    def _follow(self) -> str | None:
        """Compare the alias with what is served, and swap if they differ; what is wrong, if so.

        Versions are told apart by their runs: a new database numbers its versions from 1 again.
        """
        version = self._registry.at_alias(PRODUCTION)
        self.desired = version.number if version else None
        if version is None:
            return NOTHING_IN_PRODUCTION
        if self.served and self.served.version.run_id == version.run_id:
            self.last_known_good = False
            self.refused = None
            return None
        if self.refused is None or not self.refused.holds_for(version):
            self.refused = None
            try:
                self._serve(version)
                return None
            except NotServable as error:
                self.refused = Refusal(version.number, version.run_id, version.tags, str(error))
                traffic.refused_version()
        return str(self.refused)

    def _serve(self, version: Version) -> None:
        """Serve the version: as it was loaded when it was served before, or from the disk, or from
        MLflow. Raises NotServable, or UserError for the download."""
        downloaded = None
        served = self._kept.pop(version.run_id, None)
        if served is None:
            served, downloaded = self._loaded(version)
        else:
            # Its tags may have changed since, as the gate's verdict does.
            served = replace(served, version=version, loaded_at=now())
        self._kept[version.run_id] = served
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        self.served, self.last_known_good = served, False
        self._remember(version.run_id, downloaded)
        give_back_memory()

    def _loaded(self, version: Version) -> tuple[Served, VersionFiles | None]:
        """The version, and its files where they had to be downloaded."""
        found = self._disk and self._disk.find(version.run_id)
        if found:
            try:
                return Served.of(replace(found, version=version)), None
            except NotServable:  # the disk's copy is not the registry's
                pass
        try:
            found = download(self._registry, version)
        except NotServable:
            raise
        except UserError as error:
            raise UserError(f"version {version.number} cannot be fetched: {error}") from None
        return Served.of(found), found

    def _remember(self, run_id: str, downloaded: VersionFiles | None) -> None:
        """Keep what is served on disk. A disk that fails stops nothing; /model says so."""
        if self._disk is None:
            return
        try:
            if downloaded:
                self._disk.keep(downloaded)
            self._disk.point(run_id)
            self.cache_problem = ""
        except OSError as error:
            self.cache_problem = f"the version cannot be kept on disk: {error.strerror or error}"

    def _fall_back(self, said: str) -> str:
        """Serve what was served last before this process was started, if nothing is served and a
        version should be; what is wrong, and what comes of it."""
        if self.served is None and self._disk and said != NOTHING_IN_PRODUCTION:
            try:
                self.served = Served.of(self._disk.current())
                self.last_known_good = True
            except (NotKept, NotServable) as error:
                return f"{said}; {error}"
        if self.served and self.last_known_good:
            return f"{said}; version {self.served.version.number}, which was served last, answers"
        return said

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
        served, refused = self.served, self.refused
        return {
            "model_name": MODEL,
            "alias": PRODUCTION,
            "served": served and _described(served),
            "desired_version": self.desired,
            "problem": self.problem,
            "refused": refused and {"version": refused.number, "reason": refused.reason},
            "last_known_good": self.last_known_good,
            "cache_problem": self.cache_problem or None,
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
