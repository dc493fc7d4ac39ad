"""Make a table that nobody has seen the project's own: writes data/schema.yaml and the `data`
block of params.yaml, sets train.model: auto and a gate for this table, and says what it found.

    python src/adopt_data.py customers.csv --target churned
    python src/adopt_data.py customers.csv --target status --positive closed
    python src/adopt_data.py customers.csv --target churned --dry-run    only prints

FILE is a CSV file of any usual encoding, separator and decimal sign, a Parquet file, the URL of
one, or an SQL query for the database in DATA_DATABASE_URL. Then `dvc repro` trains on it.
"""

import argparse
import difflib
from pathlib import Path

import polars as pl

from churn import adoption, cli, files, inference, paths, profile, settings, source, table, traps
from churn.column import fold
from churn.environment import read_environment
from churn.errors import UsageError, UserError
from churn.leaks import LEAK_ROC_AUC
from churn.proposal import Proposal
from churn.schema import REQUEST_ID, SPLIT


def main() -> None:
    arguments = read_arguments()
    settings.read_params()  # a broken params.yaml is said before the work
    environment = read_environment()

    origin = location(arguments.file)
    texts = source.texts(origin, environment.DATA_DATABASE_URL)
    if SPLIT in texts.columns:
        raise UserError(f"a column cannot be named {SPLIT}: the project uses that name")
    target = named_column(arguments.target, texts.columns)
    positive = positive_class(texts[target], target, arguments.positive)
    labels, problems = table.encode_target(texts[target], positive, ("",))
    if problems:
        raise UserError("; ".join(map(str, problems)))
    check_size(labels)

    copies = table.repeated(texts)
    reserved = [name for name in texts.columns if name == REQUEST_ID]
    distinct = texts.filter(~copies).drop(target, *reserved)
    seen = profile.look_at(
        distinct,
        labels.filter(~copies).to_numpy(),
        lambda facets: cli.progress(facets, "columns", distinct.width),
    )
    proposal = traps.settle(seen, target, arguments.leak_roc_auc)
    proposal.findings[:0] = traps.find_duplicates(distinct, int(copies.sum()), proposal.id)
    proposal.findings.sort(key=lambda finding: finding.rank)
    if not proposal.features():
        raise UserError(f"no column of {arguments.file} is left as a feature")

    changes = adoption.params_changes(origin, target, positive, proposal, seen)
    changes["data.drop"] = reserved
    show(arguments.file, texts, target, positive, proposal, seen, changes)
    if arguments.dry_run:
        cli.step("dry run: nothing was written")
        return
    files.write_text(paths.SCHEMA, adoption.schema_text(proposal, seen, {proposal.id or ""}))
    settings.edit_params(changes)
    cli.step(
        f"wrote {paths.shown(paths.SCHEMA)} and params.yaml; read them (`git diff` shows them),"
        " then: dvc repro"
    )


def read_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("file", metavar="FILE", help="the table")
    parser.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    parser.add_argument("--positive", metavar="VALUE", help="its value for a customer who leaves")
    parser.add_argument(
        "--leak-roc-auc",
        type=share,
        default=LEAK_ROC_AUC,
        metavar="X",
        help=f"exclude a column that alone reaches this ROC-AUC ({LEAK_ROC_AUC})",
    )
    parser.add_argument("--dry-run", action="store_true", help="print only, write nothing")
    return parser.parse_args()


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.5 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a ROC-AUC above 0.5 and at most 1")
    return value


def location(file: str) -> str:
    """FILE as data.source names it: a path counts from the project's root, not from here."""
    path = Path(file).expanduser()
    if not path.is_file():
        return file
    path = path.resolve()
    return str(path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path)


def named_column(name: str, columns: list[str]) -> str:
    """The column that is meant, whatever its case and spaces."""
    wanted = " ".join(name.split())
    if wanted in columns:
        return wanted
    alike = [column for column in columns if fold(column) == fold(wanted)]
    if len(alike) == 1:
        return alike[0]
    close = difflib.get_close_matches(wanted, columns, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"--target {name!r} is not a column; {hint}columns: {', '.join(columns)}")


def positive_class(texts: pl.Series, target: str, given: str | None) -> str:
    """The target's value for customers who leave: as given, or the obvious one of two.

    Raises UserError where the target has not exactly two values, UsageError where it is not
    obvious which one is meant.
    """
    stripped = texts.str.strip_chars().to_frame(target)
    counts = stripped.group_by(pl.col(target).str.to_lowercase().alias("folded")).agg(
        pl.col(target).mode().first(), pl.len()
    )
    counts = counts.filter(pl.col("folded") != "").sort("len", target, descending=[True, False])
    values: list[str] = counts[target].to_list()
    shown = ", ".join(f"{v!r} ({rows:,} rows)" for _, v, rows in counts.head(5).iter_rows())
    if len(values) != 2:
        more = ", …" if len(values) > 5 else ""
        kind = "one class only" if len(values) == 1 else f"{len(values):,} different values"
        raise UserError(
            f"the target {target!r} has {kind}: {shown}{more}; a model needs two classes,"
            " customers who left and customers who stayed"
        )
    if given is None:
        found = inference.positive_of(target, (values[0], values[1]))
        if found is None:
            raise UsageError(
                f"which value of {target!r} stands for a customer who leaves? It has {shown}:"
                f" add --positive {values[0]!r} or --positive {values[1]!r}"
            )
        return found
    for value in values:
        if value.casefold() == given.strip().casefold():
            return value
    raise UsageError(f"--positive {given!r} is not a value of {target!r}; it has {shown}")


def check_size(labels: pl.Series) -> None:
    """Raises UserError where a class is too small to be split, learnt and measured."""
    smaller = min(int(labels.sum()), len(labels) - int(labels.sum()))
    if smaller < 10:
        raise UserError(
            f"the smaller class has {smaller:,} rows of {len(labels):,}; at least 10 are needed"
            " to train on some and to test on others"
        )


def show(
    file: str,
    texts: pl.DataFrame,
    target: str,
    positive: str,
    proposal: Proposal,
    seen: profile.Profile,
    changes: dict[str, object],
) -> None:
    cli.step(
        f"{file}: {texts.height:,} rows, {texts.width} columns;"
        f" {target} = {positive} in {seen.positive_rate:.1%} of {seen.rows:,} different rows"
    )
    cli.step("\n".join(["", *adoption.overview(proposal, seen), ""]))
    for number, finding in enumerate(proposal.findings, 1):
        cli.step(f"{number:>2}. {finding.said}")
    cli.step("nothing suspicious was found" if not proposal.findings else "")
    cli.step(
        f"params.yaml: id {proposal.id or 'none'}; train.model auto; gate_f1"
        f" {changes['evaluate.gate_f1']} (the best naive F1"
        f" {adoption.best_naive_f1(seen.positive_rate):.3f} plus a margin);"
        f" segments {', '.join(map(str, adoption.segments(proposal, seen))) or 'none'}"
    )


if __name__ == "__main__":
    cli.run(main)
