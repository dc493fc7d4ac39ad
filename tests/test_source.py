import csv
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn import source
from churn.source import Snapshot, SourceError

Table = list[list[str]]


def take(data_source: str | Path, folder: Path, database_url: str = "") -> tuple[Snapshot, Table]:
    destination = folder / "taken.csv"
    snapshot = source.take(str(data_source), database_url, destination)
    with destination.open(encoding="utf-8", newline="") as file:
        return snapshot, list(csv.reader(file, strict=True))


def take_bytes(content: bytes, folder: Path) -> tuple[Snapshot, Table]:
    path = folder / "table.csv"
    path.write_bytes(content)
    return take(path, folder)


def refusal(content: bytes, folder: Path) -> str:
    with pytest.raises(SourceError) as caught:
        take_bytes(content, folder)
    return str(caught.value)


def test_the_sample_is_a_snapshot_like_any_other(tmp_path: Path) -> None:
    snapshot, (header, *rows) = take("sample", tmp_path)
    assert (snapshot.rows, snapshot.columns) == (10_000, 6) == (len(rows), len(header))
    region = header.index("region")
    assert {row[region] for row in rows} == {"APAC", "EU", "LATAM", "NA"}
    assert {row[-1] for row in rows} == {"0", "1"}


def test_two_snapshots_of_the_sample_are_the_same_bytes(tmp_path: Path) -> None:
    source.take("sample", "", tmp_path / "one.csv")
    source.take("sample", "", tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


@pytest.mark.parametrize(
    ("encoding", "note"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("latin-1", "cp1252"),
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
    ],
)
def test_a_csv_file_may_have_any_common_encoding(encoding: str, note: str, tmp_path: Path) -> None:
    snapshot, table = take_bytes("city,n\nZürich,1\nMálaga,2\n".encode(encoding), tmp_path)
    assert table == [["city", "n"], ["Zürich", "1"], ["Málaga", "2"]]
    assert note in snapshot.note
    assert ("not UTF-8" in snapshot.note) == bool(note)


def test_big_endian_utf_16_is_read_by_its_byte_order_mark(tmp_path: Path) -> None:
    content = b"\xfe\xff" + "city,n\nZürich,1\n".encode("utf-16-be")
    assert take_bytes(content, tmp_path)[1] == [["city", "n"], ["Zürich", "1"]]


def test_a_euro_sign_of_windows_is_read_as_one(tmp_path: Path) -> None:
    assert take_bytes(b"price,n\n5 \x80,1\n", tmp_path)[1][1] == ["5 €", "1"]


def test_a_byte_that_windows_does_not_know_is_read_as_latin_1(tmp_path: Path) -> None:
    snapshot, table = take_bytes(b"city,n\nZ\xfcrich\x81,1\n", tmp_path)
    assert table[1] == ["Zürich\x81", "1"]
    assert "latin-1" in snapshot.note


def test_a_byte_far_down_that_is_not_utf_8_starts_the_reading_over(tmp_path: Path) -> None:
    content = b"city,n\n" + b"Bern,1\n" * 50_000 + b"Z\xfcrich,2\n"
    snapshot, table = take_bytes(content, tmp_path)
    assert snapshot.rows == 50_001
    assert len(table) == 50_002
    assert table[-1] == ["Zürich", "2"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found_in_the_header(separator: str, tmp_path: Path) -> None:
    content = "plan,price,n\nBasic,'1.5',2\n".replace(",", separator).encode()
    snapshot, table = take_bytes(content, tmp_path)
    assert table == [["plan", "price", "n"], ["Basic", "'1.5'", "2"]]
    assert ("separated by" in snapshot.note) == (separator != ",")


def test_a_separator_inside_quotes_does_not_count(tmp_path: Path) -> None:
    _, table = take_bytes(b'"a, b, and c";n\n"1,5";2\n', tmp_path)
    assert table == [["a, b, and c", "n"], ["1,5", "2"]]


def test_blank_lines_above_the_header_do_not_hide_its_separator(tmp_path: Path) -> None:
    assert take_bytes(b"\n\nplan;n\nBasic;1\n", tmp_path)[1] == [["plan", "n"], ["Basic", "1"]]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_of_any_system_are_understood(line_end: bytes, tmp_path: Path) -> None:
    content = b"plan,n\nBasic,1\nPro,2\n".replace(b"\n", line_end)
    assert take_bytes(content, tmp_path)[1] == [["plan", "n"], ["Basic", "1"], ["Pro", "2"]]
    assert b"\r" not in (tmp_path / "taken.csv").read_bytes().replace(b"\r\n", b"")


def test_the_last_line_may_lack_its_end_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    assert take_bytes(b"plan,n\n\nBasic,1\n\n\nPro,2", tmp_path)[0].rows == 2


@pytest.mark.parametrize("text", ["a,b", 'say "hi"', "two\nlines", "two\r\nlines", " padded "])
def test_a_quoted_text_survives(text: str, tmp_path: Path) -> None:
    quoted = '"' + text.replace('"', '""') + '"'
    assert take_bytes(f"note,n\n{quoted},1\n".encode(), tmp_path)[1][1] == [text, "1"]


def test_a_carriage_return_inside_quotes_does_not_end_the_row(tmp_path: Path) -> None:
    _, table = take_bytes(b'note,n\n"one\rtwo",1\nthree,2\n', tmp_path)
    assert [len(row) for row in table] == [2, 2, 2]
    assert table[2] == ["three", "2"]


def test_texts_that_look_like_missing_values_are_texts(tmp_path: Path) -> None:
    _, table = take_bytes(b"region,n\nNA,1\nnull,2\nNaN,3\n,4\n", tmp_path)
    assert [row[0] for row in table[1:]] == ["NA", "null", "NaN", ""]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\r\n"])
def test_an_empty_file_is_refused(content: bytes, tmp_path: Path) -> None:
    assert "is empty" in refusal(content, tmp_path)


@pytest.mark.parametrize("content", [b"plan,n", b"plan,n\r\n", b"plan,n\n\n\n"])
def test_a_header_without_rows_is_refused(content: bytes, tmp_path: Path) -> None:
    assert "has a header and no rows" in refusal(content, tmp_path)


@pytest.mark.parametrize(("row", "fields"), [(b"1,2", 2), (b"1,2,3,4", 4), (b"1", 1)])
def test_a_ragged_row_is_refused_with_its_number(row: bytes, fields: int, tmp_path: Path) -> None:
    said = refusal(b"a,b,c\n1,2,3\n" + row + b"\n4,5,6\n", tmp_path)
    assert f"row 2 has {fields} fields where the header has 3" in said


@pytest.mark.parametrize("content", [b'a,b\n1,"2\n3,4\n', b'a,b\n1,"2"x\n', b'"a,b\n1,2\n'])
def test_a_broken_quote_is_refused(content: bytes, tmp_path: Path) -> None:
    assert "is not a CSV file: " in refusal(content, tmp_path)


@pytest.mark.parametrize("header", [b"n,plan,n", b"n, n ,plan", b'n,"n",plan'])
def test_two_columns_of_one_name_are_refused(header: bytes, tmp_path: Path) -> None:
    assert "more than one column named n" in refusal(header + b"\n1,2,3\n", tmp_path)


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    _, table = take_bytes(b",plan, \n0,Basic,x\n", tmp_path)
    assert table[0] == ["unnamed_1", "plan", "unnamed_3"]


def test_white_space_in_a_name_is_tidied(tmp_path: Path) -> None:
    assert take_bytes(b' plan ,"monthly\n  price"\nBasic,1\n', tmp_path)[1][0] == [
        "plan",
        "monthly price",
    ]


def test_utf_16_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    assert "is neither UTF-8" in refusal("a,b\n1,2\n".encode("utf-16") + b"x", tmp_path)


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.source = .*nowhere\.csv'?: no such file"):
        take(tmp_path / "nowhere.csv", tmp_path)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.source = "):
        take(tmp_path, tmp_path)


def test_the_home_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"data\.source = "):
        take("~no_such_user_here/table.csv", tmp_path)


def test_the_snapshot_cannot_be_its_own_source(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match="is the snapshot itself"):
        source.take(str(path), "", path)
    assert path.read_text() == "a,b\n1,2\n"


# Parquet


def test_a_parquet_table_becomes_the_texts_of_its_values(tmp_path: Path) -> None:
    table = pa.table(
        {
            "tenure": pa.array([1, None, 9_007_199_254_740_993], pa.int64()),
            "minutes": pa.array([0.1, 1e-7, None], pa.float64()),
            "region": pa.array(["NA", None, "EU, south"], pa.string()),
            "plan": pa.array(["Basic", "Basic", None]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "table.any-name", row_group_size=2)
    snapshot, rows = take(tmp_path / "table.any-name", tmp_path)
    assert rows == [
        ["tenure", "minutes", "region", "plan"],
        ["1", "0.1", "NA", "Basic"],
        ["", "1e-07", "", "Basic"],
        ["9007199254740993", "", "EU, south", ""],
    ]
    assert snapshot.rows == 3
    assert "Parquet" in snapshot.note


def test_a_parquet_table_without_rows_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    with pytest.raises(SourceError, match="has a header and no rows"):
        take(tmp_path / "empty.parquet", tmp_path)


def test_a_parquet_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": list(range(1000))}), tmp_path / "whole.parquet")
    path = tmp_path / "cut.parquet"
    path.write_bytes((tmp_path / "whole.parquet").read_bytes()[:-20])
    with pytest.raises(SourceError, match="is not a Parquet file that can be read"):
        take(path, tmp_path)


# SQL


def database(folder: Path) -> str:
    with sqlite3.connect(folder / "customers.db") as connection:
        connection.execute("CREATE TABLE customers (id INTEGER, region TEXT, minutes REAL)")
        connection.executemany(
            "INSERT INTO customers VALUES (?, ?, ?)",
            [(1, "NA", 0.5), (2, None, None), (3, 'Zürich, "city"', 12.0)],
        )
    connection.close()
    return f"sqlite:///{folder / 'customers.db'}"


@pytest.mark.parametrize("query", ["SELECT", "select\n", "  Select"])
def test_an_sql_query_becomes_the_texts_of_its_values(query: str, tmp_path: Path) -> None:
    snapshot, rows = take(f"{query} * FROM customers ORDER BY id", tmp_path, database(tmp_path))
    assert rows == [
        ["id", "region", "minutes"],
        ["1", "NA", "0.5"],
        ["2", "", ""],
        ["3", 'Zürich, "city"', "12.0"],
    ]
    assert (snapshot.rows, snapshot.columns) == (3, 3)


def test_a_query_may_start_with_with(tmp_path: Path) -> None:
    query = "WITH few AS (SELECT id FROM customers WHERE id < 3) SELECT * FROM few ORDER BY id"
    assert take(query, tmp_path, database(tmp_path))[1] == [["id"], ["1"], ["2"]]


def test_a_colon_and_a_percent_sign_in_a_query_are_its_own(tmp_path: Path) -> None:
    query = "SELECT id, '100% :sure' AS note FROM customers WHERE id = 1"
    assert take(query, tmp_path, database(tmp_path))[1][1] == ["1", "100% :sure"]


def test_a_query_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has a header and no rows"):
        take("SELECT * FROM customers WHERE id > 9", tmp_path, database(tmp_path))


def test_a_query_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="more than one column named id"):
        take("SELECT id, id FROM customers", tmp_path, database(tmp_path))


def test_a_query_without_its_database_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="set DATA_DATABASE_URL"):
        take("SELECT * FROM customers", tmp_path)


def test_a_query_that_fails_says_why_in_the_words_of_the_database(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"failed: no such table: clients$"):
        take("SELECT * FROM clients", tmp_path, database(tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        "not a url with s3cret",
        "nosuchdatabase://user:s3cret@localhost/customers",
        "mysql+nosuchdriver://user:s3cret@localhost/customers",
        "sqlite:////no/such/folder/s3cret/customers.db",
        "postgresql://user:s3cret@localhost:port/customers",
        "postgresql://user:pa/s3cret@localhost:5432/customers",
        "postgresql://user:12@s3cret:34@localhost/customers",
    ],
)
def test_a_database_that_cannot_be_used_is_refused_without_its_password(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError) as caught:
        take("SELECT 1 AS one", tmp_path, url)
    assert "s3cret" not in str(caught.value)


# URLs


@contextmanager
def website(
    body: bytes, status: int = 200, length: int | None = None, path: str = "/table.csv"
) -> Iterator[str]:
    """The address of a file on a server of this machine; `length` is what its header promises."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 404)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{path}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_csv_file_at_a_url_is_taken(tmp_path: Path) -> None:
    with website("city;n\nZürich;1\n".encode("latin-1")) as url:
        snapshot, table = take(url, tmp_path)
    assert table == [["city", "n"], ["Zürich", "1"]]
    assert url in snapshot.note


def test_a_parquet_file_at_a_url_is_taken(tmp_path: Path) -> None:
    pq.write_table(pa.table({"region": ["NA", None]}), tmp_path / "table.parquet")
    with website((tmp_path / "table.parquet").read_bytes()) as url:
        assert take(url, tmp_path)[0].rows == 2


def test_a_url_without_a_file_is_refused(tmp_path: Path) -> None:
    with (
        website(b"<html>not found</html>", status=404) as url,
        pytest.raises(SourceError, match=r"cannot be fetched: HTTP Error 404"),
    ):
        take(url, tmp_path)


def test_a_download_that_breaks_off_is_refused(tmp_path: Path) -> None:
    with (
        website(b"a,b\n1,2\n3,4\n", length=1000) as url,
        pytest.raises(SourceError, match="cannot be fetched"),
    ):
        take(url, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/table.csv",
        "http:///table.csv",
        "http://127.0.0.1:port/table.csv",
        "http://127.0.0.1:9/my table.csv",
        "http://[::1/table.csv",
    ],
)
def test_an_address_that_cannot_be_reached_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be fetched"):
        take(url, tmp_path)


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08\x00", b"PK\x03\x04"])
def test_a_compressed_file_or_a_spreadsheet_is_refused_by_its_kind(
    tmp_path: Path, start: bytes
) -> None:
    assert "compressed or a spreadsheet" in refusal(start + b"\x00" * 40, tmp_path)


def test_a_parquet_number_that_is_nan_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "customers.parquet"
    pq.write_table(pa.table({"x": [1.5, float("nan"), None], "y": ["a", "nan", "b"]}), path)
    assert take(path, tmp_path)[1] == [["x", "y"], ["1.5", "a"], ["", "nan"], ["", "b"]]
