"""Point the alias `production` to a version that passed its gate; the API follows.

python src/promote.py                       the newest version that passed its gate
python src/promote.py --version 3           version 3
python src/promote.py --alias staging       another alias: staging or champion
"""

from churn import cli, lifecycle, mirror, server
from churn.environment import read_environment
from churn.errors import Refused
from churn.registry import ALIASES, MODEL, PRODUCTION, Registry, nothing_registered


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--version", type=cli.version_number, metavar="N", help="which version")
    parser.add_argument("--alias", choices=ALIASES, default=PRODUCTION, help="which alias moves")
    parser.add_argument("--reason", default="", help="why, for the record")
    parser.add_argument(
        "--if-unset", action="store_true", help="do nothing where the alias has a version already"
    )
    arguments = parser.parse_args()

    registry = Registry(server.connect(read_environment()))
    versions = registry.versions()
    if not versions:
        raise Refused(nothing_registered(registry.mlflow.uri))
    current = registry.at_alias(arguments.alias)
    if current and arguments.if_unset:
        cli.step(f"{arguments.alias} is {MODEL} version {current.number} already")
        return
    if arguments.version:
        version = registry.version(arguments.version)
    else:
        version = lifecycle.newest_passed(versions)
    lifecycle.check_passed(version)

    if current and current.number == version.number:
        mirror.write(registry)
        cli.step(f"{arguments.alias} is {MODEL} version {version.number} already; nothing to move")
        return
    move = registry.move_alias(arguments.alias, version, lifecycle.PROMOTE, arguments.reason)
    mirror.write(registry)
    cli.step(
        f"{move.alias}: {MODEL} version {move.from_version or 'none'} → {move.to_version}"
        + (" (python src/rollback.py takes it back)" if move.from_version else "")
    )


if __name__ == "__main__":
    cli.run(main)
