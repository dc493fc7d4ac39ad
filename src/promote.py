"""Point the alias `production` to a version that passed its gate; every API follows.

    python src/promote.py                       the newest version that passed its gate
    python src/promote.py --version 3           version 3
    python src/promote.py --alias staging       another alias: staging or champion
    python src/promote.py --dry-run             says what would happen

Before the alias moves, a process of its own loads the version as the API does, and compares it with
the version that is there, on rows that neither was trained on. One that is significantly worse by
more than promote.max_regression is refused. The alias champion only moves to a better one, and by
itself: with each promotion to production, and when a version passes its gate.
"""

import argparse

from churn import challenge, cli, lifecycle, mirror, moves, server
from churn.challenge import Comparison, Outcome
from churn.environment import read_environment
from churn.errors import Refused
from churn.ledger import Ledger, Move
from churn.lifecycle import PROMOTE
from churn.registry import (
    ALIASES,
    CHAMPION,
    MODEL,
    PRODUCTION,
    Registry,
    Version,
    nothing_registered,
)


def main() -> None:
    arguments = read_arguments()
    alias = arguments.alias
    registry = Registry(server.connect(read_environment()))
    ledger = Ledger(registry)
    version = wanted(registry, arguments.version)
    standing = (moves.look if arguments.dry_run else moves.stand)(ledger, alias)
    lifecycle.check_expected(alias, standing.version, arguments.expect)
    if standing.version and (arguments.if_unset or standing.version == version.number):
        mirror.follow(registry)
        cli.step(f"{alias} is {MODEL} version {standing.version} already; nothing to move")
        return

    against = [] if version.passed else [lifecycle.objection(version)]
    check(version, against, arguments)
    champion = registry.aliases().get(CHAMPION, "")
    challenge.announce(version, [standing.version, champion])
    outcome = challenge.trial(version, [standing.version, champion])
    if not arguments.dry_run:
        registry.record_servable(version.number, outcome.problem)
    result = outcome.against.get(standing.version, Comparison())
    against += objections(alias, standing.version, outcome, result)
    check(version, against, arguments)

    move = Move(
        alias=alias,
        from_version=standing.version,
        to_version=version.number,
        command=PROMOTE,
        reason=arguments.reason,
        forced="; ".join(against),
        gate=version.gate,
        gate_reason=version.gate_reason,
        comparison=result.told,
        numbers=result.numbers or {},
    )
    if result.told:
        cli.step(f"version {version.number} and version {standing.version}: {result.told}")
    if arguments.dry_run:
        cli.step(f"would move {move}")
        return
    moves.move(ledger, standing, move)
    cli.step(f"{move}{' (python src/rollback.py takes it back)' if standing.version else ''}")
    if alias == PRODUCTION and not against:
        challenge.follow_champion(ledger, version, outcome, PROMOTE)
    mirror.follow(registry)


def read_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--version", type=cli.version_number, metavar="N", help="which version")
    parser.add_argument("--alias", choices=ALIASES, default=PRODUCTION, help="which alias moves")
    parser.add_argument(
        "--if-unset", action="store_true", help="do nothing where the alias has a version already"
    )
    cli.add_move_arguments(parser)
    arguments = parser.parse_args()
    cli.check_move_arguments(arguments)
    return arguments


def wanted(registry: Registry, number: str | None) -> Version:
    """The version that was asked for, else the newest that passed its gate."""
    if number:
        return registry.version(number)
    versions = registry.versions()
    if not versions:
        raise Refused(nothing_registered(registry.mlflow.uri))
    return lifecycle.newest_passed(versions)


def objections(alias: str, current: str, outcome: Outcome, result: Comparison) -> list[str]:
    """What the trial says against the version."""
    if outcome.problem:
        return [f"cannot be served: {outcome.problem}"]
    said = result.objection(current)
    if not said and alias == CHAMPION and current and not result.better:
        said = f"is not better than version {current}: {result.told}"
    return [said] if said else []


def check(version: Version, against: list[str], arguments: argparse.Namespace) -> None:
    """Raises Refused where something speaks against the version and nobody forces it."""
    if against and not arguments.force:
        raise Refused(
            f"{MODEL} version {version.number} {' and '.join(against)}. {arguments.alias} stays"
            " where it is; `--force --reason TEXT` overrides that"
        )


if __name__ == "__main__":
    cli.run(main)
