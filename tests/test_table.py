import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn import paths, table
from churn.column import Column
from churn.schema import SPLIT, Schema
from churn.settings import Data
from churn.table import TableError

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


def raw(text: str, folder: Path) -> pd.DataFrame:
    path = folder / "raw.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return table.read_raw(path)


def cells(**columns: list[str]) -> pd.DataFrame:
    """A table as read_raw gives it, for the columns of SCHEMA: good values where none are given."""
    (count,) = {len(values) for values in columns.values()}
    good = {"tenure": "1", "minutes": "2.5", "region": "EU", "note": "x"}
    texts = {name: columns.get(name, [value] * count) for name, value in good.items()}
    return pd.DataFrame(texts, dtype="str", index=pd.RangeIndex(2, count + 2))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(TableError) as caught:
        call()
    return str(caught.value)


# The snapshot


def test_every_value_of_the_snapshot_is_the_text_that_stands_there(tmp_path: Path) -> None:
    read = raw("a,b,c\nNA,007,\nnull,1e3, x \nTrue,nan,-0\n", tmp_path)
    assert read.to_dict("list") == {
        "a": ["NA", "null", "True"],
        "b": ["007", "1e3", "nan"],
        "c": ["", " x ", "-0"],
    }


def test_the_index_of_the_snapshot_is_the_line_in_the_file(tmp_path: Path) -> None:
    assert raw("a,b\n1,2\n3,4\n", tmp_path).index.tolist() == [2, 3]


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
    table.check_columns(names, SCHEMA, data(drop=("updated_at",), id="id"))


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
    assert said in refusal(lambda: table.check_columns(names.split(), SCHEMA, settings))


def test_all_columns_that_do_not_fit_are_named_at_once() -> None:
    said = refusal(lambda: table.check_columns(["tenure", "price"], SCHEMA, data()))
    assert "'churn'" in said
    assert "missing: minutes, region, note" in said
    assert "does not know: price" in said


# Features


def test_na_is_a_region_not_a_missing_value() -> None:
    clean = table.clean_features(cells(region=["NA", " NA ", "EU"]), SCHEMA)
    assert clean["region"].tolist() == ["NA", "NA", "EU"]


def test_a_blank_number_is_missing_where_the_column_is_nullable() -> None:
    clean = table.clean_features(cells(minutes=["", "  ", "1.5"]), SCHEMA)
    assert clean["minutes"].isna().tolist() == [True, True, False]
    assert clean["minutes"].dtype == "float64"


def test_a_blank_category_is_missing_where_the_column_is_nullable() -> None:
    clean = table.clean_features(cells(note=["", "NA", "nan"]), SCHEMA)
    assert clean["note"].tolist() == [None, "NA", "nan"]


def test_a_blank_number_is_an_error_where_the_column_is_not_nullable() -> None:
    said = refusal(lambda: table.clean_features(cells(tenure=["", "1", " "]), SCHEMA))
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
    assert said in refusal(lambda: table.clean_features(wrong, SCHEMA))


def test_values_that_do_not_fit_are_counted_and_not_all_shown() -> None:
    wrong = cells(tenure=["many"] * 1500 + [f"x{number}" for number in range(100)])
    said = refusal(lambda: table.clean_features(wrong, SCHEMA))
    assert "tenure: 'many' is not a number (1,500 rows: line 2, 3, 4, 5, 6, …)" in said
    assert "tenure: 98 more different values do not fit (98 rows: line 1504, 1505," in said
    assert len(said) < 1000


def test_the_columns_of_a_wide_table_are_not_all_shown() -> None:
    names = [f"c{number}" for number in range(30)]
    schema = Schema(columns={name: Column(type="number") for name in names})
    wrong = pd.DataFrame({name: ["x"] for name in names}, dtype="str")
    said = refusal(lambda: table.clean_features(wrong, schema))
    assert said.endswith("; and 18 more problems")


@examples
@given(st.lists(st.sampled_from(["1", " 2", "1e400", "x", "", "NaN", "3.0", "-1", "1_0", "५"])))
def test_a_table_is_cleaned_as_its_values_are(texts: list[str]) -> None:
    column = Column(type="integer", min=0, nullable=True)
    schema = Schema(columns={"n": column})
    frame = pd.DataFrame({"n": pd.Series(texts, dtype="str")})
    try:
        wanted = [column.clean(text) for text in texts]
    except ValueError:
        refusal(lambda: table.clean_features(frame, schema))
        return
    found = [
        None if math.isnan(value) else value for value in table.clean_features(frame, schema)["n"]
    ]
    assert found == wanted


# The target


def target_of(values: list[str], positive: str = "Yes") -> list[int]:
    texts = pd.Series(values, name="churn", dtype="str", index=range(2, len(values) + 2))
    encoded: list[int] = table.encode_target(texts, positive, ("",)).tolist()
    return encoded


def test_the_positive_class_is_1_and_the_other_is_0() -> None:
    assert target_of(["Yes", "No", " Yes "]) == [1, 0, 1]
    assert target_of(["Yes", "No", " Yes "], positive="No") == [0, 1, 0]
    assert target_of(["1", "0"], positive="1") == [1, 0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["Yes", "Yes"], "target 'churn' has only one class: 'Yes' in all 2 rows"),
        (["No", "No"], "data.positive = 'Yes' is not a value of target 'churn'; its values: 'No'"),
        (["yes", "no"], "data.positive = 'Yes' is not a value of target 'churn'; its values: "),
        (["Yes", "No", "No", "Maybe"], "'Maybe': is neither (1 row: line 5)"),
        (["Yes", "No", ""], "target 'churn': is missing (1 row: line 4)"),
    ],
)
def test_a_target_without_its_two_classes_is_refused(values: list[str], said: str) -> None:
    assert said in refusal(lambda: target_of(values))


def test_na_may_be_the_positive_class() -> None:
    assert target_of(["NA", "x"], positive="NA") == [1, 0]


# Identity


def identities(frame: pd.DataFrame, schema: Schema = SCHEMA) -> list[str]:
    return table.identities(frame, table.clean_features(frame, schema), None)


def test_the_content_of_a_row_is_its_identity() -> None:
    one, two, three = identities(cells(tenure=["1", " 1.0", "2"]))
    assert one == two != three


def test_the_identity_of_a_row_is_the_one_of_every_earlier_snapshot() -> None:
    # What stands here goes into the hash of the split: another text is another split.
    (full,) = identities(cells(tenure=["12"]))
    (sparse,) = identities(cells(minutes=[""], note=[""]))
    assert full == "2.5\x1f'x'\x1f'EU'\x1f12.0"
    assert sparse == "nan\x1fNone\x1f'EU'\x1f1.0"


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
    frame = cells(tenure=["1", "2"]).assign(id=[" a ", "b"])
    assert table.identities(frame, table.clean_features(frame, SCHEMA), "id") == ["a", "b"]


def test_a_blank_id_is_refused() -> None:
    frame = cells(tenure=["1", "2"]).assign(id=["a", " "])
    features = table.clean_features(frame, SCHEMA)
    assert "data.id id: is blank (1 row: line 3)" in refusal(
        lambda: table.identities(frame, features, "id")
    )


# The processed table


def round_trip(frame: pd.DataFrame, schema: Schema = SCHEMA) -> pd.DataFrame:
    """The table as the next stage reads it."""
    frame = frame.assign(churn=1)
    frame[SPLIT] = "train"
    table.write_processed(frame, schema, paths.PROCESSED)
    return table.read_processed(schema, "churn")


@pytest.fixture
def processed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "PROCESSED", tmp_path / "processed.csv")
    return tmp_path / "processed.csv"


def test_na_survives_to_the_model(processed: Path) -> None:
    clean = table.clean_features(cells(region=["NA", "EU"], note=["NA", "nan"]), SCHEMA)
    read = round_trip(clean)
    assert read["region"].tolist() == ["NA", "EU"]
    assert read["note"].tolist() == ["NA", "nan"]


def test_missing_values_survive_to_the_model(processed: Path) -> None:
    clean = table.clean_features(cells(minutes=["", "1.5"], note=["", "x"]), SCHEMA)
    read = round_trip(clean)
    assert read[["minutes", "note"]].isna().to_numpy().tolist() == [[True, True], [False, False]]
    assert read.dtypes[["tenure", "minutes"]].tolist() == ["float64", "float64"]


def test_a_whole_number_is_written_without_a_point(processed: Path) -> None:
    round_trip(table.clean_features(cells(tenure=["3.0"], note=[""]), SCHEMA))
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
        clean = table.clean_features(pd.DataFrame({"x": [text]}, dtype="str"), schema)
        read = round_trip(clean, schema)
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
