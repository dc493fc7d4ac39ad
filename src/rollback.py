"""Point the alias `production` back to the version that was there before; the API follows.

python src/rollback.py                  the version that was in production before
python src/rollback.py --version 2      version 2
"""

from churn import cli, lifecycle, mirror, server
from churn.environment import read_environment
from churn.errors import Refused
from churn.registry import MODEL, PRODUCTION, Registry, nothing_registered


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--version", type=cli.version_number, metavar="N", help="which version")
    parser.add_argument("--reason", default="", help="why, for the record")
    arguments = parser.parse_args()

    registry = Registry(server.connect(read_environment()))
    versions = registry.versions()
    if not versions:
        raise Refused(nothing_registered(registry.mlflow.uri))
    current = registry.at_alias(PRODUCTION)
    if current is None:
        raise Refused(
            f"there is nothing to roll back from: {PRODUCTION} points to no version;"
            " python src/promote.py puts one there"
        )
    if arguments.version:
        version = registry.version(arguments.version)
        lifecycle.check_passed(version)
    else:
        version = lifecycle.before(current, registry.moves(PRODUCTION), versions)
    if version.number == current.number:
        raise Refused(f"{PRODUCTION} is {MODEL} version {version.number} already")

    move = registry.move_alias(PRODUCTION, version, lifecycle.ROLLBACK, arguments.reason)
    mirror.write(registry)
    cli.step(f"{PRODUCTION}: {MODEL} version {move.from_version} → {move.to_version}")


if __name__ == "__main__":
    cli.run(main)
