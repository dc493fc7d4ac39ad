"""The checks of doctor.py in their order, and what becomes of those that cannot be made."""

from collections.abc import Iterator

from churn import installation
from churn.environment import Environment
from churn.finding import BAD, NOTE, Finding, findings

_OF_THE_SERVER = (
    "server version",
    "artifacts",
    "ledger",
    "production",
    "API",
    "data",
    "registry/",
)


def examine(environment: Environment) -> Iterator[Finding]:
    """Every check, each as soon as it is done."""
    yield from findings("packages", installation.packages)
    yield from findings("disk", installation.disk)
    yield from findings("locks", installation.locks)
    yield from findings("database", installation.database)
    try:
        yield from _of_what_runs(environment)
    except ModuleNotFoundError as error:
        # The check of the packages has said so.
        for check in ("server", *_OF_THE_SERVER):
            yield Finding(check, NOTE, f"not checked: the package {error.name} is missing")


def _of_what_runs(environment: Environment) -> Iterator[Finding]:
    # Where packages are missing, these cannot be imported.
    from churn import operation
    from churn.ledger import Ledger
    from churn.registry import Registry
    from churn.rest import Mlflow

    server = list(findings("server", lambda: operation.mlflow_server(environment)))
    yield from server
    if any(finding.state == BAD for finding in server):
        for check in _OF_THE_SERVER:
            yield Finding(check, NOTE, "not checked: MLflow does not answer")
        return
    registry = Registry(Mlflow(environment))
    looks = (
        lambda: operation.server_version(environment),
        lambda: operation.artifact_root(registry),
        lambda: operation.ledger_agrees(Ledger(registry)),
        lambda: operation.production_loads(registry),
        lambda: operation.apis_serve(environment, registry),
        lambda: operation.data_is_kept(registry),
        lambda: operation.mirror_agrees(registry),
    )
    for check, look in zip(_OF_THE_SERVER, looks, strict=True):
        yield from findings(check, look)
