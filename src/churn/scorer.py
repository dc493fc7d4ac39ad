"""How a model version becomes something that scores a clean row."""

from dataclasses import dataclass
from typing import Any

import skops.io
from pydantic import ValidationError
from skops.io.exceptions import UntrustedTypesFoundException

from churn import model
from churn.column import Value
from churn.errors import UserError
from churn.schema import ModelSchema

# Where MLflow's scikit-learn flavor and train.py put the two files that serving needs.
MODEL_FILE = "model.skops"
SCHEMA_FILE = "extra_files/schema.json"

TOLERANCE = 1e-6


class NotServable(UserError):
    """A version whose files cannot be loaded, or that does not answer as it did in training."""


@dataclass(frozen=True)
class Scorer:
    """A fitted model with the schema that it was trained by."""

    schema: ModelSchema
    classifier: Any

    def score(self, rows: list[dict[str, Value]]) -> list[float]:
        """The probability of the positive class for each clean row, in their order."""
        answers: list[float] = model.probability(
            self.classifier, model.frame(rows, self.schema)
        ).tolist()
        return answers


def load(model_file: bytes, schema_file: bytes) -> Scorer:
    """A scorer from the two files of a version, after it has answered its own example.

    Nothing is unpickled: skops builds the types that scikit-learn publishes and those that
    churn.model lists, and refuses any other. Raises NotServable.
    """
    try:
        schema = ModelSchema.model_validate_json(schema_file)
    except ValidationError as error:
        raise NotServable(f"its schema cannot be read: {error.errors()[0]['msg']}") from None
    try:
        classifier = skops.io.loads(model_file, trusted=list(model.TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise NotServable(f"its model holds types that are not allowed: {error}") from None
    except Exception as error:  # noqa: BLE001 - a broken file makes skops raise about anything
        raise NotServable(f"its model cannot be loaded: {error!r}") from None
    scorer = Scorer(schema, classifier)
    _check_example(scorer)
    return scorer


def _check_example(scorer: Scorer) -> None:
    example = scorer.schema.example
    try:
        answer = scorer.score([example.row])[0]
    except Exception as error:  # noqa: BLE001 - as above
        raise NotServable(f"its model cannot score its own example: {error!r}") from None
    if not abs(answer - example.probability) <= TOLERANCE:
        raise NotServable(
            f"it answers its own example with {answer:.7f}, in training {example.probability:.7f}"
        )
