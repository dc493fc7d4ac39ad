"""Start this checkout's MLflow server, unless a server answers at MLFLOW_TRACKING_URI already.

    python src/start_mlflow.py              for this machine, without a password
    python src/start_mlflow.py --shared --certificate cert.pem --key key.pem
                                            for others too, with a password and TLS

Commands that need the server start it themselves, the first way; this one is for opening its pages.

--shared wants to be told in the environment MLFLOW_TRACKING_URI, the address under which everybody
reaches the server, and MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, the administrator of
its first start. MLFLOW_SERVER_ALLOWED_HOSTS has other names under which it is reached. Nothing else
makes it listen to other machines.
"""

import argparse
from pathlib import Path

from churn import cli, server, sharing
from churn.environment import read_environment
from churn.errors import UsageError


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--shared", action="store_true", help="ask for a password, let others in")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where, if not on every address")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="for TLS: a PEM file")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key, a PEM file")
    parser.add_argument(
        "--without-tls", action="store_true", help="let passwords cross the network readable"
    )
    arguments = parser.parse_args()
    environment = read_environment()
    if arguments.shared:
        how = sharing.read_sharing(environment, *_how(arguments))
        server.share(environment, how.options, how.variables)
    elif any(_how(arguments)):
        raise UsageError("--listen, --certificate, --key and --without-tls go with --shared")
    else:
        server.connect(environment)
    cli.step(f"MLflow answers at {environment.MLFLOW_TRACKING_URI}")


def _how(given: argparse.Namespace) -> tuple[str | None, Path | None, Path | None, bool]:
    return given.listen, given.certificate, given.key, given.without_tls


if __name__ == "__main__":
    cli.run(main)
