"""Take a snapshot of the raw data: the source that params.yaml names → data/raw.csv.

    dvc repro ingest        takes it when there is none, or when data.source has changed
    dvc repro -f ingest     takes it again

data.source is `sample`, the path or URL of a CSV or Parquet file, or an SQL query for the database
in DATA_DATABASE_URL. The snapshot holds every value as text, in UTF-8 with commas; what the values
mean is the next stage's business.
"""

from churn import cli, files, paths, settings, source, stage
from churn.environment import read_environment


def main() -> None:
    cli.parser(__doc__).parse_args()
    stage.begin()
    params = settings.read_params()
    environment = read_environment()
    with files.replacing(paths.RAW) as temporary:
        snapshot = source.take(params.data.source, environment.DATA_DATABASE_URL, temporary)
    cli.step(
        f"{paths.shown(paths.RAW)}: {snapshot.rows:,} rows, {snapshot.columns} columns"
        f" from {snapshot.note}"
    )


if __name__ == "__main__":
    cli.run(main)
