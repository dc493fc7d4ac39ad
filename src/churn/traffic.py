"""What the API counts: requests, how long they took, what was predicted. In Prometheus's format.

With several workers each keeps its numbers in files of PROMETHEUS_MULTIPROC_DIR, which api.py sets
before anything is counted, and whoever is asked adds them up.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)

_REGISTRY = CollectorRegistry()
_REQUESTS = Counter(
    "churn_requests", "Requests that were answered.", ["endpoint", "status"], registry=_REGISTRY
)
_SECONDS = Histogram(
    "churn_request_seconds",
    "From the first line of the endpoint to its answer.",
    ["endpoint"],
    buckets=_BUCKETS,
    registry=_REGISTRY,
)
_PREDICTIONS = Counter(
    "churn_predictions",
    "Rows that were predicted, by version and class.",
    ["model_version", "prediction"],
    registry=_REGISTRY,
)
_REFUSED = Counter(
    "churn_refused_versions", "Versions in production that could not be served.", registry=_REGISTRY
)
_LOG_FAILURES = Counter(
    "churn_prediction_log_failures", "Answers that are not in the log.", registry=_REGISTRY
)


class Endpoint:
    """Counts one endpoint. The counters are looked up once, because that takes a microsecond."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seconds = _SECONDS.labels(name)
        self._answers: dict[int, Counter] = {}

    def answered(self, status: int, seconds: float) -> None:
        counter = self._answers.get(status)
        if counter is None:
            counter = self._answers[status] = _REQUESTS.labels(self._name, str(status))
        counter.inc()
        self._seconds.observe(seconds)


class Predictions:
    """Counts the predictions of one version: of the negative class, and of the positive."""

    def __init__(self, version: str) -> None:
        self._counters = tuple(_PREDICTIONS.labels(version, each) for each in ("0", "1"))

    def predicted(self, prediction: int, rows: int = 1) -> None:
        self._counters[prediction].inc(rows)


def refused_version() -> None:
    _REFUSED.inc()


def not_logged(rows: int) -> None:
    _LOG_FAILURES.inc(rows)


def exposition() -> bytes:
    """All numbers, of all workers, as Prometheus scrapes them."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(_REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)
