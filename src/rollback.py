"""Point the alias `production` back to the version that was there before; every API follows.

    python src/rollback.py                  the version that was in production before, by the ledger
    python src/rollback.py --version 2      version 2
    python src/rollback.py --dry-run        says what would happen

A second rollback goes further back. Versions that are gone, failed their gate, did not load or were
themselves rolled back from are passed over.
"""

import argparse

from churn import cli, lifecycle, mirror, moves, server
from churn.environment import read_environment
from churn.errors import Refused, UserError
from churn.ledger import Ledger, Move
from churn.lifecycle import ROLLBACK
from churn.moves import Standing
from churn.registry import MODEL, PRODUCTION, Registry, nothing_registered


def main() -> None:
    arguments = read_arguments()
    registry = Registry(server.connect(read_environment()))
    ledger = Ledger(registry)
    standing = (moves.look if arguments.dry_run else moves.stand)(ledger, PRODUCTION)
    lifecycle.check_expected(PRODUCTION, standing.version, arguments.expect)
    if arguments.version:
        to, forced = arguments.version, check(registry, standing, arguments)
    else:
        to, forced = version_before(registry, standing), ""

    version = registry.version(to)
    move = Move(
        alias=PRODUCTION,
        from_version=standing.version,
        to_version=to,
        command=ROLLBACK,
        reason=arguments.reason,
        forced=forced,
        gate=version.gate,
        gate_reason=version.gate_reason,
    )
    if arguments.dry_run:
        cli.step(f"would move {move}")
        return
    moves.move(ledger, standing, move)
    cli.step(str(move))
    mirror.follow(registry)


def read_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--version", type=cli.version_number, metavar="N", help="which version")
    cli.add_move_arguments(parser)
    arguments = parser.parse_args()
    cli.check_move_arguments(arguments)
    return arguments


def version_before(registry: Registry, standing: Standing) -> str:
    """The version to roll back to. Raises Refused where there is none."""
    to, passed_over = lifecycle.before(
        standing.version, standing.moves, lambda number: objection(registry, number)
    )
    for why in passed_over:
        cli.step(f"passed over: {why}")
    if to:
        return to
    if not registry.versions():
        raise Refused(nothing_registered(registry.mlflow.uri))
    if not standing.version:
        raise Refused(
            f"there is nothing to roll back from: {PRODUCTION} points to no version;"
            " python src/promote.py puts one there"
        )
    again = " that could be again" if passed_over else ""
    raise Refused(
        f"there is nothing to roll back to: no version was in production before {MODEL} version"
        f" {standing.version}{again}; `--version N` takes one by its number"
    )


def objection(registry: Registry, number: str) -> str:
    """What speaks against going back to the version; empty if nothing does."""
    said = lifecycle.objection(registry.find(number))
    if said:
        return said
    try:
        registry.check_files(number)
    except UserError as error:
        return f"cannot be loaded: {error}"
    return ""


def check(registry: Registry, standing: Standing, arguments: argparse.Namespace) -> str:
    """What --force overrides for the version that was asked for; empty where nothing has to be.

    Raises Refused where it does not exist, is the current one, or needs --force.
    """
    number = arguments.version
    registry.version(number)
    if number == standing.version:
        raise Refused(f"{PRODUCTION} is {MODEL} version {number} already")
    against = []
    if not any(number == move.to_version for move in standing.moves):
        against.append("was never in production")
    if said := objection(registry, number):
        against.append(said)
    if against and not arguments.force:
        raise Refused(
            f"{MODEL} version {number} {' and '.join(against)}; `--force --reason TEXT` takes it"
            " all the same"
        )
    return "; ".join(against)


if __name__ == "__main__":
    cli.run(main)
