"""Score a table of any size by the version in production.

    python src/score.py customers.csv scored.csv
    python src/score.py customers.parquet scored.parquet --version 3

CSV (UTF-8, commas) or Parquet, by the ending of the name. OUT gets the rows of IN with
`probability`, `prediction` and `model_version`; what cannot be scored goes to OUT's name with
`.rejected` in it, with its line and the reason. Interrupted, it leaves no file.
"""

from pathlib import Path

from churn import batch, cli, files, server
from churn.environment import read_environment
from churn.errors import UserError
from churn.registry import MODEL, PRODUCTION, Registry, Version
from churn.served import Served


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("table", metavar="IN", type=Path, help="the table to score")
    parser.add_argument("scored", metavar="OUT", type=Path, help="where it goes with its scores")
    parser.add_argument(
        "--version", type=cli.version_number, metavar="N", help="instead of the one in production"
    )
    arguments = parser.parse_args()
    given, out = arguments.table, arguments.scored
    if not given.is_file():
        raise UserError(f"there is no file {given}")
    if out.exists() and out.samefile(given):
        raise UserError(f"{out} is the table itself; name another file")
    registry = Registry(server.connect(read_environment()))
    served = Served.load(registry, wanted(registry, arguments.version))
    rejected = out.with_name(f"{out.stem}.rejected{out.suffix}")
    good, bad = score(served, given, out, rejected)
    cli.step(f"{out}: {good:,} rows scored by {MODEL} version {served.version.number}")
    if bad:
        cli.step(f"{rejected}: {bad:,} rows rejected, with their reasons")


def wanted(registry: Registry, number: str | None) -> Version:
    """The version to score by. Raises UserError where there is none."""
    if number is not None:
        return registry.version(number)
    version = registry.at_alias(PRODUCTION)
    if version is None:
        raise UserError(f"no version of {MODEL} is in production: `python src/promote.py`")
    return version


def score(served: Served, given: Path, out: Path, rejected: Path) -> tuple[int, int]:
    """Score `given` into `out` and `rejected`; how many rows went to each. Both are complete or not
    there, and an old `rejected` goes where nothing was rejected."""
    scorer = served.scorer
    with files.replacing(out) as written, files.replacing(rejected) as refused:
        good = batch.Writer(written, batch.is_parquet(out))
        bad = batch.Writer(refused, batch.is_parquet(rejected))
        with cli.progress_by_size(given.name, batch.size(given)) as bar:
            for piece in batch.score(scorer, served.version.number, batch.pieces(given)):
                good.append(piece.good)
                if piece.bad.height:
                    bad.append(piece.bad)
                bar.update(piece.size)
        good.close()
        bad.close()
    if not bad.rows:
        rejected.unlink()
    return good.rows, bad.rows


if __name__ == "__main__":
    cli.run(main)
