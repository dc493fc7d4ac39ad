"""All talk with MLflow's registry: versions, their tags, the alias, and the record of its moves."""

import getpass
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from churn import lineage
from churn.errors import Refused
from churn.gate import PASSED, Verdict
from churn.rest import Mlflow, MlflowRefused, NotFound

EXPERIMENT = "mlops-lab-01"
MOVES = f"{EXPERIMENT}-moves"
MODEL = "churn_model"
PRODUCTION = "production"
ALIASES = (PRODUCTION, "staging", "champion")


class Tag:
    """The tags of a model version."""

    GIT_COMMIT = "git_commit"
    GIT_CLEAN = "git_clean"
    RAW_SHA256 = "raw_sha256"
    MODEL_SHA256 = "model_sha256"
    TRAINING = "training_version"
    ESTIMATOR = "estimator"
    CHOICE_REASON = "choice_reason"
    GATE = "gate"
    GATE_REASON = "gate_reason"
    GATE_F1 = "gate_f1"


@dataclass(frozen=True)
class Version:
    """A version of the registered model."""

    number: str
    run_id: str
    created: str
    tags: dict[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def gate(self) -> str:
        """`passed`, `failed`, or an empty text before evaluation."""
        return self.tags.get(Tag.GATE, "")

    @property
    def passed(self) -> bool:
        return self.gate == PASSED

    @property
    def lineage(self) -> dict[str, str]:
        """Which run made the version, from which commit and data."""
        names = (Tag.GIT_COMMIT, Tag.GIT_CLEAN, Tag.RAW_SHA256, Tag.MODEL_SHA256)
        return {"run_id": self.run_id, **{name: self.tags.get(name, "") for name in names}}


@dataclass(frozen=True)
class Move:
    """One move of an alias: `from_version` is empty where the alias pointed nowhere."""

    at: str
    alias: str
    from_version: str
    to_version: str
    command: str
    reason: str


class Registry:
    """The registered model churn_model on one MLflow server.

    Methods raise Unreachable where the server does not answer and Refused where a version does
    not exist.
    """

    def __init__(self, mlflow: Mlflow) -> None:
        self.mlflow = mlflow

    def versions(self) -> list[Version]:
        """All versions, newest first, with their aliases (which MLflow's search leaves out)."""
        try:
            model = self.mlflow.get("registered-models/get", name=MODEL)["registered_model"]
        except NotFound:
            return []
        aliases: dict[str, list[str]] = {}
        for entry in model.get("aliases", []):
            aliases.setdefault(entry["version"], []).append(entry["alias"])
        found = []
        token: str | None = ""
        while token is not None:
            page = self.mlflow.get(
                "model-versions/search",
                filter=f"name='{MODEL}'",
                max_results=1000,
                page_token=token,
            )
            found += page.get("model_versions", [])
            token = page.get("next_page_token") or None
        versions = [_version(entry, aliases.get(entry["version"], [])) for entry in found]
        return sorted(versions, key=lambda version: int(version.number), reverse=True)

    def version(self, number: str) -> Version:
        """The version with this number. Raises Refused where there is none."""
        versions = self.versions()
        for version in versions:
            if version.number == number:
                return version
        if not versions:
            raise Refused(nothing_registered(self.mlflow.uri))
        known = ", ".join(version.number for version in versions[:10])
        raise Refused(f"{MODEL} has no version {number} (newest first: {known})")

    def at_alias(self, alias: str) -> Version | None:
        """The version that the alias points to, or None."""
        try:
            answer = self.mlflow.get("registered-models/alias", name=MODEL, alias=alias)
        except NotFound:
            return None
        except MlflowRefused as error:
            # So MLflow 3.17 answers for a missing alias; a missing model is NotFound.
            if error.code == "INVALID_PARAMETER_VALUE":
                return None
            raise
        return _version(answer["model_version"], [alias])

    def register(self, run_id: str, model_id: str, tags: dict[str, str]) -> Version:
        """Make a new version of the model that the run logged under `model_id`."""
        try:
            self.mlflow.post("registered-models/create", name=MODEL)
        except MlflowRefused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
        created = self.mlflow.post(
            "model-versions/create",
            name=MODEL,
            source=f"models:/{model_id}",
            model_id=model_id,
            run_id=run_id,
            tags=_pairs(tags),
        )
        return _version(created["model_version"], [])

    def record_verdict(self, number: str, verdict: Verdict, gate_f1: float) -> None:
        """Write the gate's decision on the version; the verdict last, when its reason stands."""
        for key, value in (
            (Tag.GATE_F1, f"{gate_f1:g}"),
            (Tag.GATE_REASON, verdict.reason),
            (Tag.GATE, verdict.word),
        ):
            self.mlflow.post(
                "model-versions/set-tag", name=MODEL, version=number, key=key, value=value
            )

    def artifact_uri(self, number: str) -> str:
        """Where the files of the version's MLflow model lie."""
        answer = self.mlflow.get("model-versions/get-download-uri", name=MODEL, version=number)
        return str(answer["artifact_uri"]).rstrip("/")

    def move_alias(self, alias: str, to: Version, command: str, reason: str) -> Move:
        """Point the alias to a version and record the move.

        The record is written first: a move without a record would mislead the next rollback,
        while a record without its move is seen by comparing it with the alias.
        """
        current = self.at_alias(alias)
        move = Move(
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            alias=alias,
            from_version=current.number if current else "",
            to_version=to.number,
            command=command,
            reason=reason,
        )
        self._record(move)
        self.mlflow.post("registered-models/alias", name=MODEL, alias=alias, version=to.number)
        return move

    def moves(self, alias: str) -> list[Move]:
        """The recorded moves of the alias, newest first."""
        experiment = self.experiment_id(MOVES)
        if experiment is None:
            return []
        runs = self.mlflow.pages(
            "runs/search",
            "runs",
            experiment_ids=[experiment],
            filter=f"tags.alias = '{alias}'",
            order_by=["attributes.start_time DESC"],
            max_results=1000,
        )
        return [_move(_as_dict(run["data"].get("tags", []))) for run in runs]

    def run_url(self, run_id: str) -> str:
        """The page in MLflow of a run of the experiment."""
        return f"{self.mlflow.uri}/#/experiments/{self.experiment_id(EXPERIMENT)}/runs/{run_id}"

    def experiment_id(self, name: str) -> str | None:
        try:
            answer = self.mlflow.get("experiments/get-by-name", experiment_name=name)
        except NotFound:
            return None
        return str(answer["experiment"]["experiment_id"])

    def _record(self, move: Move) -> None:
        """A move is a run of an experiment of its own, so it shows in MLflow's pages."""
        experiment = self.experiment_id(MOVES)
        if experiment is None:
            experiment = self.mlflow.post("experiments/create", name=MOVES)["experiment_id"]
        now = time.time_ns() // 1_000_000
        tags = {
            "at": move.at,
            "alias": move.alias,
            "from": move.from_version,
            "to": move.to_version,
            "command": move.command,
            "reason": move.reason,
            Tag.GIT_COMMIT: lineage.git_commit(),
            "mlflow.user": _user(),
        }
        name = f"{move.alias}: {move.from_version or 'nothing'} → {move.to_version}"
        run = self.mlflow.post(
            "runs/create",
            experiment_id=experiment,
            run_name=name,
            start_time=now,
            tags=_pairs(tags),
        )
        run_id = run["run"]["info"]["run_id"]
        self.mlflow.post("runs/update", run_id=run_id, status="FINISHED", end_time=now)


# Without -s, -f would run the stages before them too, and take a new snapshot of the data.
TRAIN_AGAIN = "dvc repro -f -s train evaluate"


def nothing_registered(uri: str) -> str:
    return (
        f"{MODEL} has no version on {uri}: `dvc repro` trains one"
        f" (`{TRAIN_AGAIN}` if it says that nothing has changed)"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have a number and no name
        return str(os.getuid())


def _version(entry: dict[str, Any], aliases: list[str]) -> Version:
    created = datetime.fromtimestamp(int(entry["creation_timestamp"]) / 1000, UTC)
    return Version(
        number=str(entry["version"]),
        run_id=entry.get("run_id", ""),
        created=created.isoformat(timespec="seconds"),
        tags=_as_dict(entry.get("tags", [])),
        aliases=tuple(sorted(aliases)),
    )


def _move(tags: dict[str, str]) -> Move:
    return Move(
        at=tags.get("at", ""),
        alias=tags.get("alias", ""),
        from_version=tags.get("from", ""),
        to_version=tags.get("to", ""),
        command=tags.get("command", ""),
        reason=tags.get("reason", ""),
    )


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _as_dict(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs}
