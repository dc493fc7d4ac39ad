"""All talk with MLflow's registry: versions, their tags, and where the aliases point."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from churn.errors import Refused
from churn.gate import PASSED, Verdict
from churn.rest import Mlflow, MlflowRefused, NotFound

EXPERIMENT = "mlops-lab-01"
MODEL = "churn_model"
PRODUCTION, STAGING, CHAMPION = "production", "staging", "champion"
ALIASES = (PRODUCTION, STAGING, CHAMPION)


# The run in MLflow has a hundred more: intervals, deciles, segments.
_SCORES = ("f1", "accuracy", "precision", "recall", "roc_auc", "log_loss", "brier")
_RUNS_AT_ONCE = 100


class Tag:
    """The tags of a model version."""

    GIT_COMMIT = "git_commit"
    GIT_CLEAN = "git_clean"
    RAW_SHA256 = "raw_sha256"
    RAW_MD5 = "raw_md5"
    MODEL_SHA256 = "model_sha256"
    SCORER_SHA256 = "scorer_sha256"
    SCHEMA_SHA256 = "schema_sha256"
    SCORER_DIFFERENCE = "scorer_difference"
    TRAINING = "training_version"
    ESTIMATOR = "estimator"
    CHOICE_REASON = "choice_reason"
    GATE = "gate"
    GATE_REASON = "gate_reason"
    GATE_F1 = "gate_f1"
    SERVABLE = "servable"


TRAINING_ID = "training_id"
"""The tag of a run that says which training it is (see journal.py)."""

SERVABLE = "yes"
"""The value of Tag.SERVABLE where a version loads and answers its example; else what is wrong."""


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
    def gate_reason(self) -> str:
        return self.tags.get(Tag.GATE_REASON, "")

    @property
    def passed(self) -> bool:
        return self.gate == PASSED

    @property
    def unservable(self) -> str:
        """Why the version could not be loaded when it was last tried; empty where nobody found
        anything."""
        said = self.tags.get(Tag.SERVABLE, "")
        return "" if said == SERVABLE else said

    @property
    def lineage(self) -> dict[str, str]:
        """Which run made the version, from which commit and data."""
        names = (Tag.GIT_COMMIT, Tag.GIT_CLEAN, Tag.RAW_SHA256, Tag.MODEL_SHA256)
        return {"run_id": self.run_id, **{name: self.tags.get(name, "") for name in names}}


class Registry:
    """The registered model churn_model on one MLflow server.

    Methods raise Unreachable where the server does not answer and Refused where a version does
    not exist.
    """

    def __init__(self, mlflow: Mlflow) -> None:
        self.mlflow = mlflow

    def aliases(self) -> dict[str, str]:
        """The version number that each alias points to."""
        try:
            model = self.mlflow.get("registered-models/get", name=MODEL)["registered_model"]
        except NotFound:
            return {}
        return {entry["alias"]: entry["version"] for entry in model.get("aliases", [])}

    def versions(self) -> list[Version]:
        """All versions, newest first, with their aliases (which MLflow's search leaves out)."""
        aliases = self.aliases()
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
        versions = [
            _version(entry, [alias for alias, to in aliases.items() if to == entry["version"]])
            for entry in found
        ]
        return sorted(versions, key=lambda version: int(version.number), reverse=True)

    def find(self, number: str) -> Version | None:
        """The version with this number, without its aliases; None where there is none."""
        try:
            answer = self.mlflow.get("model-versions/get", name=MODEL, version=number)
        except NotFound:
            return None
        return _version(answer["model_version"], [])

    def version_of(self, run_id: str) -> Version | None:
        """The version that the run has become, without its aliases; None where there is none."""
        found = self.mlflow.get(
            "model-versions/search", filter=f"name='{MODEL}' and run_id='{run_id}'"
        )
        return next((_version(entry, []) for entry in found.get("model_versions", [])), None)

    def version(self, number: str) -> Version:
        """The version with this number, without its aliases. Raises Refused where there is none."""
        version = self.find(number)
        if version:
            return version
        versions = self.versions()
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
        self._tag(number, Tag.GATE_F1, f"{gate_f1:g}")
        self._tag(number, Tag.GATE_REASON, verdict.reason)
        self._tag(number, Tag.GATE, verdict.word)

    def record_servable(self, number: str, problem: str) -> None:
        """Write on the version that it loads and answers its example, or with what `problem` it
        does not."""
        self._tag(number, Tag.SERVABLE, problem or SERVABLE)

    def artifact_uri(self, number: str) -> str:
        """Where the files of the version's MLflow model lie."""
        answer = self.mlflow.get("model-versions/get-download-uri", name=MODEL, version=number)
        return str(answer["artifact_uri"]).rstrip("/")

    def point(self, alias: str, number: str) -> None:
        """Let the alias point to the version, or to nothing where `number` is empty.

        MLflow does it whatever the alias points to at that moment: moves.py is what makes it safe.
        """
        if number:
            self.mlflow.post("registered-models/alias", name=MODEL, alias=alias, version=number)
        else:
            self.mlflow.delete("registered-models/alias", name=MODEL, alias=alias)

    def metrics(self, run_ids: list[str]) -> dict[str, dict[str, float]]:
        """The scores on the test split of each of these runs, by run and name."""
        experiment = self.experiment_id(EXPERIMENT)
        if experiment is None:
            return {}
        found: dict[str, dict[str, float]] = {}
        for start in range(0, len(run_ids), _RUNS_AT_ONCE):
            some = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + _RUNS_AT_ONCE])
            runs = self.mlflow.pages(
                "runs/search",
                "runs",
                experiment_ids=[experiment],
                filter=f"attributes.run_id IN ({some})",
                max_results=_RUNS_AT_ONCE,
            )
            for run in runs:
                found[run["info"]["run_id"]] = {
                    metric["key"]: metric["value"]
                    for metric in run["data"].get("metrics", [])
                    if metric["key"] in _SCORES
                }
        return found

    def check_files(self, number: str) -> None:
        """Raises UserError where the files of the version cannot be had from the server."""
        self.mlflow.get_artifact(f"{self.artifact_uri(number)}/MLmodel")

    def _tag(self, number: str, key: str, value: str) -> None:
        self.mlflow.post("model-versions/set-tag", name=MODEL, version=number, key=key, value=value)

    def run_url(self, run_id: str) -> str:
        """The page in MLflow of a run of the experiment."""
        return f"{self.mlflow.uri}/#/experiments/{self.experiment_id(EXPERIMENT)}/runs/{run_id}"

    def experiment(self, name: str) -> dict[str, Any] | None:
        """The experiment as MLflow describes it, also where it has been deleted; None where no
        experiment ever had the name."""
        try:
            answer = self.mlflow.get("experiments/get-by-name", experiment_name=name)
        except NotFound:
            return None
        found: dict[str, Any] = answer["experiment"]
        return found

    def experiment_id(self, name: str) -> str | None:
        """The id of the experiment, or None where there is none."""
        found = self.experiment(name)
        return str(found["experiment_id"]) if found else None


# Without -s, -f would run the stages before them too, and take a new snapshot of the data.
TRAIN_AGAIN = "dvc repro -f -s train evaluate"


def nothing_registered(uri: str) -> str:
    return (
        f"{MODEL} has no version on {uri}: `dvc repro` trains one"
        f" (`{TRAIN_AGAIN}` if it says that nothing has changed)"
    )


def _version(entry: dict[str, Any], aliases: list[str]) -> Version:
    created = datetime.fromtimestamp(int(entry["creation_timestamp"]) / 1000, UTC)
    return Version(
        number=str(entry["version"]),
        run_id=entry.get("run_id", ""),
        created=created.isoformat(timespec="seconds"),
        tags=_as_dict(entry.get("tags", [])),
        aliases=tuple(sorted(aliases)),
    )


def _pairs(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _as_dict(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs}
