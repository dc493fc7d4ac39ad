"""Check, clean and split the raw data: data/raw.csv → data/processed.csv.

    dvc repro prepare

Every value is held to data/schema.yaml; all that does not fit is named at once, with the lines
where it stands, as an error or a warning as the schema's `checks` say. Exact duplicates are
dropped. Each row gets a split by a stable hash of its identity, so that a customer stays on the
same side in every later snapshot.
"""

import polars as pl

from churn import cli, files, paths, settings, split, stage, table
from churn.schema import SPLIT, read_schema


def main() -> None:
    cli.parser(__doc__).parse_args()
    stage.begin()
    params = settings.read_params()
    schema = read_schema()
    data = params.data

    raw = table.read_raw()
    problems = table.check_columns(raw.columns, schema, data)
    features, found = table.clean_features(raw, schema)
    problems += found
    if data.target in raw.columns:
        target, found = table.encode_target(raw[data.target], data.positive, schema.missing_values)
        problems += found or table.check_class_balance(target, schema, data.positive)
    for warning in table.settle(problems, schema.checks):
        cli.warn(warning)

    identity = table.identities(raw, features, data.id)
    splits = split.assign(identity.to_list(), params.split.test_size, params.split.salt)
    processed = features.with_columns(target, pl.Series(SPLIT, splits))
    others = [name for name, column in schema.columns.items() if column.tells_rows_apart]
    aside = raw.select(name for name in raw.columns if name in {data.id, *data.drop, *others})
    copies = table.repeated(processed.hstack(aside.rename(lambda name: f"raw {name}")))
    processed = processed.filter(~copies)
    check_splits(processed, data.target)

    with files.replacing(paths.PROCESSED) as temporary:
        table.write_processed(processed, schema, temporary)
    tests = int((processed[SPLIT] == split.TEST).sum())
    positives = processed[data.target].sum() / processed.height
    cli.step(
        f"{paths.shown(paths.PROCESSED)}: {processed.height:,} rows"
        f" ({processed.height - tests:,} train, {tests:,} test),"
        f" {positives:.1%} {data.target} = {data.positive},"
        f" {int(copies.sum()):,} exact duplicates dropped"
    )


def check_splits(processed: pl.DataFrame, target: str) -> None:
    """Both classes stand in both splits, or there is nothing to learn or to measure."""
    for name in (split.TRAIN, split.TEST):
        labels = processed.filter(pl.col(SPLIT) == name)[target]
        if labels.n_unique() < 2:
            raise table.TableError(
                f"the {name} split has {len(labels):,} rows and {int(labels.sum()):,} positives;"
                " it needs both classes: more rows, or another split.test_size or split.salt"
            )


if __name__ == "__main__":
    cli.run(main)
