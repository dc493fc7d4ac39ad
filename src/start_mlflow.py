"""Start this checkout's MLflow server, unless a server answers at MLFLOW_TRACKING_URI already.

    python src/start_mlflow.py

Commands that need the server start it themselves; this one is for opening its pages.
"""

from churn import cli, server
from churn.environment import read_environment


def main() -> None:
    cli.parser(__doc__).parse_args()
    environment = read_environment()
    server.connect(environment)
    cli.step(f"MLflow answers at {environment.MLFLOW_TRACKING_URI}")


if __name__ == "__main__":
    cli.run(main)
