"""What of a row may stand in the prediction log: `log` of each column in data/schema.yaml."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from churn.fastjson import dumps
from churn.schema import ModelSchema

KEPT, DROPPED, HASHED = "yes", "drop", "hash"


class Privacy:
    """Takes out of a record what the schema does not let into the log.

    A hash is an HMAC-SHA256 of the value's JSON under PREDICTION_LOG_KEY: equal values can be told
    to be equal, and who has no key cannot try all values. Without a key what is to be hashed is
    left out.
    """

    def __init__(self, schema: ModelSchema, key: str) -> None:
        self._key = key.encode()
        self._dropped = self._named(schema, DROPPED)
        self._hashed = self._named(schema, HASHED)
        if not key:
            self._dropped |= self._hashed
            self._hashed = frozenset()

    @staticmethod
    def _named(schema: ModelSchema, log: str) -> frozenset[str]:
        return frozenset(name for name, column in schema.used.items() if column.log == log)

    @property
    def wanted(self) -> bool:
        """Whether anything of a record is private."""
        return bool(self._dropped or self._hashed)

    def redacted(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record as it may be written: its `features` without what is private, and its
        `warnings`, which show values, only with the names of those columns."""
        features = {
            name: self._hash(value) if name in self._hashed else value
            for name, value in record["features"].items()
            if name not in self._dropped
        }
        warnings = [self._quiet(text) for text in record["warnings"]]
        return {**record, "features": features, "warnings": warnings}

    def _hash(self, value: Any) -> str:
        return hmac.new(self._key, dumps(value), hashlib.sha256).hexdigest()

    def _quiet(self, warning: str) -> str:
        name = warning.partition(":")[0]
        private = name in self._dropped or name in self._hashed
        return f"{name}: not as in training" if private else warning
