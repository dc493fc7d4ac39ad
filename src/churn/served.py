"""A version with all that answering needs, loaded from its files."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from churn import scorer
from churn.last_known_good import VersionFiles
from churn.registry import Registry, Version
from churn.request import BadRow, RowReader
from churn.rest import NotFound
from churn.scorer import NotServable, Scorer
from churn.traffic import Predictions

_WARMING = 20


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
        return cls.of(download(registry, version))

    @classmethod
    def of(cls, found: VersionFiles) -> "Served":
        """Load the version from its files, held to the hashes in its tags. Raises NotServable."""
        loaded = scorer.load(found.scorer, found.schema, found.version.tags)
        served = cls(
            version=found.version,
            scorer=loaded,
            reader=RowReader(loaded.schema, loaded.encoding),
            counted=Predictions(found.version.number),
            mlflow_version=found.mlflow_version,
            loaded_at=now(),
        )
        try:
            served.warm_up()
        except BadRow as error:
            raise NotServable(f"its schema does not take its own example: {error}") from None
        return served

    def warm_up(self) -> None:
        """Make the first request as fast as any."""
        given = self.scorer.schema.given_example
        for _ in range(_WARMING):
            vector, _warnings = self.reader.read(dict(given))
            self.scorer.probability(vector)


def download(registry: Registry, version: Version) -> VersionFiles:
    """The files of the version that serving needs. Raises NotServable where one is missing, and
    UserError where they cannot be had."""
    uri = registry.artifact_uri(version.number)
    try:
        scorer_file = registry.mlflow.get_artifact(f"{uri}/{scorer.SCORER_FILE}")
        schema_file = registry.mlflow.get_artifact(f"{uri}/{scorer.SCHEMA_FILE}")
        described = registry.mlflow.get_artifact(f"{uri}/MLmodel").decode(errors="replace")
    except NotFound as error:
        raise NotServable(f"a file that serving needs is missing: {error}") from None
    logged_by = re.search(r"^mlflow_version: (\S+)", described, re.MULTILINE)
    return VersionFiles(version, scorer_file, schema_file, logged_by[1] if logged_by else "")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
