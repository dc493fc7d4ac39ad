from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn import paths, table
from churn.column import Column
from churn.schema import SPLIT, Checks, Schema
from churn.settings import Data
from churn.table import Problem, TableError

# The same examples each time, on a machine of any speed.
examples = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCHEMA = Schema(
    columns={
        "tenure": Column(type="integer", min=0, max=100),
        "minutes": Column(type="number", nullable=True),
        "region": Column(type="category", values=("EU", "NA")),
        "note": Column(type="category", nullable=True),
    }
)


def data(target: str = "churn", drop: tuple[str, ...] = (), id: str | None = None) -> Data:  # noqa: A002
    return Data(source="sample", target=target, positive="1", drop=drop, id=id)


def raw(text: str, folder: Path) -> pl.DataFrame:
    path = folder / "raw.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return table.read_raw(path)


def cells(**columns: list[str]) -> pl.DataFrame:
    """A table as read_raw gives it, for the columns of SCHEMA: good values where none are given."""
    (count,) = {len(values) for values in columns.values()}
    good = {"tenure": "1", "minutes": "2.5", "region": "EU", "note": "x"}
    texts = {name: columns.get(name, [value] * count) for name, value in good.items()}
    return pl.DataFrame(texts)


def settled(problems: list[Problem], **checks: str) -> list[str]:
    return table.settle(problems, Checks.model_validate(checks))


def clean(frame: pl.DataFrame, schema: Schema = SCHEMA) -> pl.DataFrame:
    """The features of a table in which nothing is wrong."""
    features, problems = table.clean_features(frame, schema)
    settled(problems)
    return features


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(TableError) as caught:
        call()
    return str(caught.value)


# The snapshot


def test_every_value_of_the_snapshot_is_the_text_that_stands_there(tmp_path: Path) -> None:
    read = raw("a,b,c\nNA,007,\nnull,1e3, x \nTrue,nan,-0\n", tmp_path)
    assert read.to_dict(as_series=False) == {
        "a": ["NA", "null", "True"],
        "b": ["007", "1e3", "nan"],
        "c": ["", " x ", "-0"],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; `dvc repro -f ingest` remakes it"),
        ("\n", "is empty; `dvc repro -f ingest` remakes it"),
        ("a,b\n", "has a header and no rows"),
        ('a,b\n1,"2\n3,4\n', "is not a snapshot by ingest: "),
        ("a,b\n1,2\n3,4,5\n", "is not a snapshot by ingest: "),
        ("a,b\n1,2,3\n4,5,6\n", "is not a snapshot by ingest: "),
    ],
)
def test_a_file_that_is_no_snapshot_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(lambda: raw(text, tmp_path))


def test_a_missing_snapshot_is_named_with_the_way_to_make_it(tmp_path: Path) -> None:
    said = refusal(lambda: table.read_raw(tmp_path / "raw.csv"))
    assert "raw.csv is missing; `dvc repro ingest` makes it" in said


def test_a_snapshot_in_latin_1_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").write_bytes("a,b\nZürich,1\n".encode("latin-1"))
    assert "is not a snapshot by ingest" in refusal(lambda: table.read_raw(tmp_path / "raw.csv"))


# Columns and their roles


def test_each_column_with_one_role_is_in_order() -> None:
    names = ["id", *SCHEMA.features, "churn", "updated_at"]
    assert table.check_columns(names, SCHEMA, data(drop=("updated_at",), id="id")) == []


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        ("tenure minutes region note", data(), "data.target names 'churn', which is not a column"),
        ("tenure minutes region churn", data(), "columns of data/schema.yaml are missing: note"),
        ("minutes note churn", data(), "columns of data/schema.yaml are missing: tenure, region"),
        (
            "tenure minutes region note churn price",
            data(),
            "columns that data/schema.yaml does not know: price (describe them there, or name them"
            " in data.drop)",
        ),
        (
            "tenure minutes region note churn",
            data(drop=("price",)),
            "data.drop names 'price', which is not a column (columns: tenure, minutes,",
        ),
        ("tenure minutes region note churn", data(id="key"), "data.id names 'key', which is not a"),
        (
            "tenure minutes region note churn",
            data(drop=("note",)),
            "'note' is a feature in data/schema.yaml and also named in params.yaml",
        ),
        ("tenure minutes region note churn", data(target="note"), "'note' is a feature in data/sc"),
        ("tenure minutes region note churn", data(id="churn"), "'churn'"),
        ("tenure minutes region note churn", data(drop=("churn",)), "'churn'"),
        ("tenure minutes region note _split", data(target="_split"), "_split"),
        ("Tenure minutes region note churn", data(), "are missing: tenure"),
    ],
)
def test_a_table_whose_columns_do_not_fit_is_refused(names: str, settings: Data, said: str) -> None:
    assert said in refusal(lambda: settled(table.check_columns(names.split(), SCHEMA, settings)))


def test_all_columns_that_do_not_fit_are_named_at_once() -> None:
    said = refusal(lambda: settled(table.check_columns(["tenure", "price"], SCHEMA, data())))
    assert "'churn'" in said
    assert "missing: minutes, region, note" in said
    assert "does not know: price" in said


# Features


def test_na_is_a_region_not_a_missing_value() -> None:
    features = clean(cells(region=["NA", " NA ", "EU"]))
    assert features["region"].to_list() == ["NA", "NA", "EU"]


def test_a_blank_number_is_missing_where_the_column_is_nullable() -> None:
    features = clean(cells(minutes=["", "  ", "1.5"]))
    assert features["minutes"].to_list() == [None, None, 1.5]


def test_a_blank_category_is_missing_where_the_column_is_nullable() -> None:
    features = clean(cells(note=["", "NA", "nan"]))
    assert features["note"].to_list() == [None, "NA", "nan"]


def test_a_blank_number_is_an_error_where_the_column_is_not_nullable() -> None:
    said = refusal(lambda: clean(cells(tenure=["", "1", " "])))
    assert "tenure: is missing, and the schema does not say nullable" in said
    assert "line 2" in said
    assert "line 4" in said


@pytest.mark.parametrize(
    ("column", "text", "said"),
    [
        ("tenure", "many", "tenure: 'many' is not a number (1 row: line 3)"),
        ("tenure", "1.5", "tenure: '1.5' is not a whole number (1 row: line 3)"),
        ("tenure", "-1", "tenure: '-1' is below the minimum 0 (1 row: line 3)"),
        ("tenure", "101", "tenure: '101' is above the maximum 100 (1 row: line 3)"),
        ("minutes", "NA", "minutes: 'NA' is not a number (1 row: line 3)"),
        ("minutes", "1,5", "minutes: '1,5' is not a number (1 row: line 3)"),
        ("region", "Mars", "region: 'Mars' is not among its values in the schema (1 row: line 3)"),
        ("region", "", "region: is missing, and the schema does not say nullable (1 row: line 3)"),
        ("region", "na", "region: 'na' is not among its values in the schema (1 row: line 3)"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_line(
    column: str, text: str, said: str
) -> None:
    texts = {"tenure": "1", "minutes": "1", "region": "EU"}
    wrong = cells(**{column: [texts[column], text, texts[column]]})
    assert said in refusal(lambda: clean(wrong))


def test_values_that_do_not_fit_are_counted_and_not_all_shown() -> None:
    wrong = cells(tenure=["many"] * 1500 + [f"x{number}" for number in range(100)])
    said = refusal(lambda: clean(wrong))
    assert "tenure: 'many' is not a number (1,500 rows: line 2, 3, 4, 5, 6, …)" in said
    assert "tenure: 98 more different values do not fit (98 rows: line 1504, 1505," in said
    assert len(said) < 1000


def test_the_columns_of_a_wide_table_are_not_all_shown() -> None:
    names = [f"c{number}" for number in range(30)]
    schema = Schema(columns={name: Column(type="number") for name in names})
    wrong = pl.DataFrame({name: ["x"] for name in names})
    said = refusal(lambda: clean(wrong, schema))
    assert said.endswith("; and 18 more problems")


@examples
@given(st.lists(st.sampled_from(["1", " 2", "1e400", "x", "", "NaN", "3.0", "-1", "1_0", "५"])))
def test_a_table_is_cleaned_as_its_values_are(texts: list[str]) -> None:
    column = Column(type="integer", min=0, nullable=True)
    schema = Schema(columns={"n": column})
    frame = pl.DataFrame({"n": texts}, schema={"n": pl.String})
    try:
        wanted = [column.clean(text) for text in texts]
    except ValueError:
        refusal(lambda: clean(frame, schema))
        return
    assert clean(frame, schema)["n"].to_list() == wanted


MANY = Schema(
    columns={
        "whole": Column(
            type="integer", min=-5, max=50, missing_values=("-1", "n/a"), nullable=True
        ),
        "comma": Column(type="number", decimal=",", nullable=True),
        "grouped": Column(type="number", decimal=",", thousands="."),
        "share": Column(type="number", unit="%", nullable=True),
        "flag": Column(type="boolean", values=("FAUX", "VRAI"), nullable=True),
        "since": Column(type="date", format="%d.%m.%Y"),
        "plan": Column(type="category", values=("A", "B"), missing_values=("?",)),
        "score": Column(type="text", use=False),
    }
)


TEXTS = (
    [
        "",
        "1",
        "-1",
        "-1.0",
        " n/a",
        "51",
        "1.5",
        "1,5",
        "1.234,5",
        "1.23",
        "1,2,3",
        "-0",
        "+7",
        ".5",
    ],
    ["1e3", "inf", "nan", "1_0", "९", "9007199254740993", "1e400", "\xa05", "A", "?", "C"],
    [
        "5%",
        "-5 %",
        "% 5",
        "5%%",
        "VRAI",
        "faux ",
        "true",
        "0",
        "31.12.2025",
        "31.02.2025",
        "2025-12-31",
    ],
)


@examples
@given(
    st.sampled_from(sorted(MANY.used)),
    st.lists(
        st.sampled_from([text for texts in TEXTS for text in texts]),
        max_size=5,
    ),
)
def test_a_column_of_any_type_is_cleaned_as_its_values_are(name: str, texts: list[str]) -> None:
    column = MANY.columns[name]
    schema = Schema(columns={name: column})
    frame = pl.DataFrame({name: texts}, schema={name: pl.String})
    wanted, wrong = [], 0
    for text in texts:
        try:
            wanted.append(column.clean(text))
            wrong += column.unlisted(wanted[-1])
        except ValueError as error:
            wanted.append(getattr(error, "kept", None))
            wrong += 1
    features, problems = table.clean_features(frame, schema)
    assert features[name].to_list() == wanted
    assert bool(problems) == bool(wrong)


# What a snapshot is held to

HELD = Schema(
    positive_rate=0.5,
    columns={
        "tenure": Column(type="integer", min=0),
        "plan": Column(type="category", values=("A", "B"), nullable=True, missing_rate=0.0),
    },
)


def problems_of(tenure: list[str], plan: list[str]) -> list[Problem]:
    return table.clean_features(pl.DataFrame({"tenure": tenure, "plan": plan}), HELD)[1]


def test_all_that_does_not_fit_is_named_at_once() -> None:
    columns = table.check_columns(["tenure", "plan", "price", "churn"], HELD, data())
    said = refusal(lambda: settled(columns + problems_of(["-1", "x", ""], ["C", "A", "A"])))
    for part in (
        "columns that data/schema.yaml does not know: price",
        "tenure: '-1' is below the minimum 0 (1 row: line 2)",
        "tenure: 'x' is not a number (1 row: line 3)",
        "tenure: is missing, and the schema does not say nullable (1 row: line 4)",
        "plan: 'C' is not among its values in the schema (1 row: line 2)",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("check", "tenure", "said", "kept"),
    [
        ("limits", "-1", "tenure: '-1' is below the minimum 0 (1 row: line 3)", -1.0),
        ("types", "x", "tenure: 'x' is not a number (1 row: line 3)", None),
        ("missing", "", "tenure: is missing, and the schema does not say nullable (1 ro", None),
    ],
)
def test_what_is_no_error_is_used_as_far_as_it_can_be(
    check: str, tenure: str, said: str, kept: float | None
) -> None:
    frame = pl.DataFrame({"tenure": ["1", tenure], "plan": ["A", "B"]})
    features, problems = table.clean_features(frame, HELD)
    assert features["tenure"].to_list() == [1.0, kept]
    (warning,) = settled(problems, **{check: "warning"})
    assert warning.startswith(said)
    assert settled(problems, **{check: "ignore"}) == []
    assert said in refusal(lambda: settled(problems))


def test_a_category_that_is_not_listed_stays_where_that_is_a_warning() -> None:
    frame = pl.DataFrame({"tenure": ["1"], "plan": ["C"]})
    features, problems = table.clean_features(frame, HELD)
    assert features["plan"].to_list() == ["C"]
    assert len(settled(problems, categories="warning")) == 1


def test_a_missing_column_is_all_missing_where_that_is_a_warning() -> None:
    problems = table.check_columns(["plan", "churn"], HELD, data())
    (warning,) = settled(problems, missing_columns="warning")
    assert warning == "columns of data/schema.yaml are missing: tenure"
    features, _ = table.clean_features(pl.DataFrame({"plan": ["A", "B"]}), HELD)
    assert features["tenure"].to_list() == [None, None]


def test_a_column_that_is_no_feature_may_be_there_or_not() -> None:
    schema = Schema(columns=HELD.columns | {"notes": Column(type="text", use=False)})
    assert table.check_columns(["tenure", "plan", "churn"], schema, data()) == []
    assert table.check_columns(["tenure", "plan", "notes", "churn"], schema, data()) == []


@pytest.mark.parametrize(("missing", "far"), [(1, False), (20, False), (40, True), (100, True)])
def test_a_missing_rate_far_from_the_recorded_one_is_a_warning(missing: int, far: bool) -> None:
    rows = 500
    problems = problems_of(["1"] * rows, ["A"] * (rows - missing) + [""] * missing)
    said = [f"plan: {missing / rows:.1%} are missing where the schema records 0.0%"] * far
    assert [warning.partition(" (")[0] for warning in settled(problems)] == said


@pytest.mark.parametrize(
    ("rows", "positives", "far"),
    [(10, 1, False), (1_000, 460, False), (1_000, 380, True), (1_000, 620, True)],
)
def test_a_class_balance_far_from_the_recorded_one_is_a_warning(
    rows: int, positives: int, far: bool
) -> None:
    target = pl.Series("churn", [1] * positives + [0] * (rows - positives))
    problems = table.check_class_balance(target, HELD, "Yes")
    assert bool(settled(problems)) is far
    if far:
        assert f"are 'Yes' where the schema records 50.0% ({rows:,} rows)" in refusal(
            lambda: settled(problems, class_balance="error")
        )


def test_copies_of_an_earlier_row_are_found() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 1.0, None, None, 1.0], "b": list("xxx  y")})
    assert table.repeated(frame).to_list() == [False, False, True, False, True, False]


# The target


def target_of(values: list[str], positive: str = "Yes") -> list[int]:
    encoded, problems = table.encode_target(pl.Series("churn", values), positive, ("",))
    settled(problems)
    return encoded.to_list()


def test_the_positive_class_is_1_and_the_other_is_0() -> None:
    assert target_of(["Yes", "No", " Yes "]) == [1, 0, 1]
    assert target_of(["Yes", "No", " Yes "], positive="No") == [0, 1, 0]
    assert target_of(["YES", "No", "yes", "NO"]) == [1, 0, 1, 0]
    assert target_of(["1", "0"], positive="1") == [1, 0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["Yes", "Yes"], "target 'churn' has only one class: 'Yes' in all 2 rows"),
        (["No", "No"], "data.positive = 'Yes' is not a value of target 'churn'; its values: 'No'"),
        (["Y", "N"], "data.positive = 'Yes' is not a value of target 'churn'; its values: "),
        (["Yes", "No", "No", "Maybe"], "'Yes' and 'No': 'Maybe' is neither (1 row: line 5)"),
        (
            ["Yes", "No", ""],
            "target 'churn' is missing; label these rows or leave them out (1 row: ",
        ),
    ],
)
def test_a_target_without_its_two_classes_is_refused(values: list[str], said: str) -> None:
    assert said in refusal(lambda: target_of(values))


def test_na_may_be_the_positive_class() -> None:
    assert target_of(["NA", "x"], positive="NA") == [1, 0]


# Identity


def identities(frame: pl.DataFrame, schema: Schema = SCHEMA) -> list[str]:
    return table.identities(frame, clean(frame, schema), None).to_list()


def test_the_content_of_a_row_is_its_identity() -> None:
    one, two, three = identities(cells(tenure=["1", " 1.0", "2"]))
    assert one == two != three


def test_the_identity_of_a_row_is_the_one_of_every_earlier_snapshot() -> None:
    # What stands here goes into the hash of the split: another text is another split.
    (full,) = identities(cells(tenure=["12"]))
    (sparse,) = identities(cells(minutes=[""], note=[""]))
    assert full == "2.5\x1fx\x1fEU\x1f12.0"
    assert sparse == "\x1f\x1fEU\x1f1.0"


def test_the_order_of_the_columns_in_the_schema_does_not_change_the_identity() -> None:
    other = Schema(columns={name: SCHEMA.columns[name] for name in reversed(SCHEMA.features)})
    frame = cells(tenure=["1", "2"], region=["EU", "NA"])
    assert identities(frame) == identities(frame, other)


def test_a_missing_value_is_not_the_text_of_one() -> None:
    one, two = identities(cells(note=["", "None"]))
    assert one != two


def test_zero_and_minus_zero_are_one_identity() -> None:
    one, two = identities(cells(minutes=["0", "-0"]))
    assert one == two


def test_the_id_column_is_the_identity_where_there_is_one() -> None:
    frame = cells(tenure=["1", "2"]).with_columns(id=pl.Series([" a ", "b"]))
    assert table.identities(frame, clean(frame), "id").to_list() == ["a", "b"]


def test_a_blank_id_is_refused() -> None:
    frame = cells(tenure=["1", "2"]).with_columns(id=pl.Series(["a", " "]))
    features = clean(frame)
    assert "data.id id: is blank (1 row: line 3)" in refusal(
        lambda: table.identities(frame, features, "id")
    )


# The processed table


def round_trip(frame: pl.DataFrame, schema: Schema = SCHEMA) -> pd.DataFrame:
    """The table as the next stage reads it."""
    frame = frame.with_columns(pl.lit(1).alias("churn"), pl.lit("train").alias(SPLIT))
    table.write_processed(frame, schema, paths.PROCESSED)
    return table.read_processed(schema, "churn")


@pytest.fixture
def processed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "PROCESSED", tmp_path / "processed.csv")
    return tmp_path / "processed.csv"


def test_na_survives_to_the_model(processed: Path) -> None:
    read = round_trip(clean(cells(region=["NA", "EU"], note=["NA", "nan"])))
    assert read["region"].tolist() == ["NA", "EU"]
    assert read["note"].tolist() == ["NA", "nan"]


def test_missing_values_survive_to_the_model(processed: Path) -> None:
    read = round_trip(clean(cells(minutes=["", "1.5"], note=["", "x"])))
    assert read[["minutes", "note"]].isna().to_numpy().tolist() == [[True, True], [False, False]]
    assert read.dtypes[["tenure", "minutes"]].tolist() == ["float64", "float64"]


def test_a_whole_number_is_written_without_a_point(processed: Path) -> None:
    round_trip(clean(cells(tenure=["3.0"], note=[""])))
    assert processed.read_text().splitlines()[1] == "3,2.5,EU,,1,train"


@examples
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_exactly_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, number: float
) -> None:
    schema = Schema(columns={"x": Column(type="number")})
    assert through_file(tmp_path_factory, schema, repr(number)) == number


@examples
@given(
    st.text(st.characters(codec="utf-8"), min_size=1).map(str.strip).filter(bool)
    | st.sampled_from(["NA", "one\rtwo", "one\r\ntwo", 'say "hi"', "a,b", "#", "'", "\\", "nan"])
)
def test_a_category_is_read_as_exactly_what_was_cleaned(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    column = Column(type="category")
    read = through_file(tmp_path_factory, Schema(columns={"x": column}), text)
    assert read == column.clean(text)


def through_file(factory: pytest.TempPathFactory, schema: Schema, text: str) -> object:
    """What the next stage reads where the snapshot holds `text` in the column x."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "PROCESSED", factory.getbasetemp() / "processed.csv")
        read = round_trip(clean(pl.DataFrame({"x": [text]}), schema), schema)
    assert len(read) == 1
    return read["x"].iloc[0]


def test_a_missing_processed_table_is_named_with_the_way_to_make_it(processed: Path) -> None:
    said = refusal(lambda: table.read_processed(SCHEMA, "churn"))
    assert "processed.csv is missing; `dvc repro prepare` makes it" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not from prepare_data.py: "),
        ("tenure,minutes,region,note,churn,_split\nx,1,EU,,1,train\n", "is not from prepare_data"),
        ("tenure,minutes,region,note,churn,_split\n1,1,EU,,,train\n", "is not from prepare_data"),
        ("tenure,churn,_split\n1,1,train\n", "has the columns tenure, churn, _split where"),
        ("tenure,minutes,note,region,churn,_split\n1,1,,EU,1,train\n", "`dvc repro prepare` rem"),
    ],
)
def test_a_processed_table_of_another_schema_is_refused(
    text: str, said: str, processed: Path
) -> None:
    processed.write_text(text)
    assert said in refusal(lambda: table.read_processed(SCHEMA, "churn"))
