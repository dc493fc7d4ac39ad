"""Stop the MLflow server that this checkout started. Its data stay in mlflow/.

python src/stop_mlflow.py
"""

from churn import cli, server


def main() -> None:
    cli.parser(__doc__).parse_args()
    stopped = server.stop()
    for uri in stopped:
        cli.step(f"stopped the MLflow server at {uri}")
    if not stopped:
        cli.step("no MLflow server of this checkout is running")


if __name__ == "__main__":
    cli.run(main)
