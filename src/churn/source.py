"""Where raw data comes from. Every source ends as one form: a CSV in UTF-8 with commas and a
header, each value the text that the source held."""

import csv
import http.client
import re
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from churn import paths
from churn.errors import UserError

SAMPLE = "sample"

_SQL = re.compile(r"\s*(select|with)\s", re.IGNORECASE)
_SEPARATORS = ",;\t|"


class SourceError(UserError):
    """A source that cannot be read as a table."""


@dataclass(frozen=True)
class Snapshot:
    """What was taken: its size, and what had to be understood to read it."""

    rows: int
    columns: int
    note: str


def take(source: str, database_url: str, destination: Path) -> Snapshot:
    """Write the table that `source` names to `destination`.

    `source` is `sample`, the path or http(s) URL of a CSV or Parquet file (a path counts from the
    project's root), or an SQL query (SELECT … or WITH …) for the database at `database_url`, an
    SQLAlchemy URL. Raises SourceError where it cannot be read.
    """
    if source == SAMPLE:
        return _write(destination, _sample_rows(), "the built-in sample")
    if is_query(source):
        return _write(destination, _sql_rows(source, database_url), "an SQL query")
    if source.startswith(("http://", "https://")):
        with _downloaded(source, destination) as path:
            return _from_file(path, source, destination)
    try:
        path = paths.ROOT / Path(source).expanduser()
    except RuntimeError as error:  # ~name of nobody
        raise SourceError(f"data.source = {source!r}: {error}") from None
    if not path.is_file():
        raise SourceError(f"data.source = {source!r}: no such file; {path} does not exist")
    if path.resolve() == destination.resolve() or path.resolve() == paths.RAW.resolve():
        raise SourceError(f"data.source = {source!r} is the snapshot itself; name another file")
    return _from_file(path, source, destination)


def texts(source: str, database_url: str) -> pl.DataFrame:
    """The table that `source` names, with every value as the text that a snapshot of it would hold.

    A CSV file that is UTF-8 and has no quirks is read where it lies, on all cores; everything else
    goes through a snapshot in a temporary folder.
    """
    path = paths.ROOT / Path(source).expanduser()
    if source != SAMPLE and path.is_file():
        table = _plain_csv(path)
        if table is not None:
            return table
    with TemporaryDirectory(prefix="churn-source-") as folder:
        snapshot = Path(folder) / "raw.csv"
        take(source, database_url, snapshot)
        return read_texts(snapshot)


def _plain_csv(path: Path) -> pl.DataFrame | None:
    """A CSV file in UTF-8 whose rows all have the fields of the header, or None."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if (
        start.startswith((b"PAR1", b"\x1f\x8b", b"PK", b"\xff\xfe", b"\xfe\xff"))
        or b"\n" not in start
    ):
        return None
    try:
        line = start.partition(b"\n")[0].decode("utf-8-sig")
        separator = _separator(line)
        table = read_texts(path, separator)
        header = _readable_header(next(csv.reader([line], delimiter=separator, strict=True)), "")
    except (pl.exceptions.PolarsError, UnicodeDecodeError, csv.Error, SourceError, StopIteration):
        return None  # taking a snapshot tells what is wrong, or copes with it
    # Polars fills rows that are too short: in a file without quotes the separators tell.
    separators = (len(header) - 1) * (table.height + 1)
    if (
        table.is_empty()
        or len(header) != table.width
        or _count(path, separator.encode()) != separators
    ):
        return None
    table.columns = header
    return table


def _count(path: Path, byte: bytes) -> int:
    with path.open("rb") as file:
        return sum(block.count(byte) for block in iter(lambda: file.read(1 << 20), b""))


def read_texts(path: Path, separator: str = ",") -> pl.DataFrame:
    """A CSV file in UTF-8 with every value as text; a blank field is an empty text."""
    return pl.read_csv(
        path,
        separator=separator,
        infer_schema=False,
        empty_string_is_null=False,
        glob=False,  # a path with a star is a path
    )


def is_query(source: str) -> bool:
    """Whether `source` is an SQL query."""
    return bool(_SQL.match(source))


def _from_file(path: Path, source: str, destination: Path) -> Snapshot:
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise SourceError(f"{source} is empty")
    if start.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise SourceError(f"{source} is compressed or a spreadsheet; unpack or save it as CSV")
    if start == b"PAR1":
        return _write(destination, _parquet_rows(path, source), f"{source} (Parquet)")
    return _from_csv(path, source, start, destination)


def _from_csv(path: Path, source: str, start: bytes, destination: Path) -> Snapshot:
    """Try the encodings from the strictest to the one that takes any byte."""
    utf16 = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if utf16 else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            with path.open(encoding=encoding, newline="") as file:
                separator = _separator(next((line for line in file if line.strip()), ""))
                file.seek(0)
                notes = [source]
                if encoding != "utf-8-sig":
                    notes.append(f"read as {encoding}, because it is not UTF-8")
                if separator != ",":
                    notes.append(f"separated by {separator!r}")
                rows = csv.reader(file, delimiter=separator, strict=True)
                return _write(destination, rows, ", ".join(notes))
        except UnicodeDecodeError:
            continue
        except csv.Error as error:
            raise SourceError(f"{source} is not a CSV file: {error}") from None
    raise SourceError(f"{source} is neither UTF-8, UTF-16, Windows-1252 nor Latin-1 text")


def _separator(header: str) -> str:
    """The separator that stands most often outside the quotes of the header line."""
    unquoted = re.sub(r'"[^"]*"', "", header)
    return max(_SEPARATORS, key=unquoted.count)


def _write(destination: Path, rows: Iterable[Iterable[Any]], note: str) -> Snapshot:
    """Write header and rows as CSV; lines without any field are skipped."""
    filled = (list(row) for row in rows)
    filled = (row for row in filled if row)
    header = _readable_header(next(filled, []), note)
    count = 0
    with destination.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        # Before Python 3.13, csv leaves a carriage return unquoted, and readers end the line there.
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(header)
        for count, row in enumerate(filled, start=1):
            if len(row) != len(header):
                raise SourceError(
                    f"{note}: row {count} has {len(row)} fields where the header has {len(header)}"
                )
            # A lone empty field would be written as a blank line and be lost on reading.
            row = row if row != [""] else [" "]
            returns = any("\r" in field for field in row if isinstance(field, str))
            (quoting if returns else writer).writerow(row)
    if not count:
        raise SourceError(f"{note} has a header and no rows; there is nothing to learn from")
    return Snapshot(count, len(header), note)


def _readable_header(names: list[Any], note: str) -> list[str]:
    """The names without stray white space; a column without a name becomes `unnamed_<number>`."""
    if not names:
        raise SourceError(f"{note} is empty")
    header = [
        " ".join(str(name).split()) or f"unnamed_{number}" for number, name in enumerate(names, 1)
    ]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise SourceError(f"{note} has more than one column named {', '.join(twice)}")
    return header


def _sample_rows() -> Iterator[Iterable[Any]]:
    from churn import sample

    table, _ = sample.customers()
    yield table
    yield from zip(*(values.tolist() for values in table.values()), strict=True)


def _sql_rows(query: str, database_url: str) -> Iterator[Iterable[Any]]:
    import sqlalchemy

    if not database_url:
        raise SourceError(
            "data.source is an SQL query: set DATA_DATABASE_URL to the SQLAlchemy URL of its"
            " database, such as postgresql+psycopg2://user:password@host/name"
        )
    try:
        url = sqlalchemy.make_url(database_url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # Their texts may quote a part of the password.
        raise SourceError(
            "DATA_DATABASE_URL is not an SQLAlchemy URL such as"
            " postgresql+psycopg2://user:password@host:5432/name (in a password write @ as %40,"
            " : as %3A and / as %2F)"
        ) from None
    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True).execute(
                sqlalchemy.text(query.replace(":", "\\:"))
            )
            yield result.keys()
            # csv writes None as an empty field: the text of a missing value.
            yield from result
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        # The first line only: the following ones repeat the query. Neither holds the password.
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise SourceError(f"the SQL query of data.source failed: {reason}") from None


def _parquet_rows(path: Path, source: str) -> Iterator[Iterable[Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        yield file.schema_arrow.names
        for batch in file.iter_batches():
            yield from zip(*map(_present, batch.columns), strict=True)
    except pyarrow.ArrowException as error:
        raise SourceError(f"{source} is not a Parquet file that can be read: {error}") from None


def _present(column: Any) -> list[Any]:
    """The column's values with None for NaN, which is how some writers store a missing number."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_floating(column.type):
        column = compute.if_else(compute.is_nan(column), None, column)
    values: list[Any] = column.to_pylist()
    return values


@contextmanager
def _downloaded(url: str, destination: Path) -> Iterator[Path]:
    """The file at `url`, in a temporary folder beside `destination`: there is room for both, and
    what a process that was killed leaves is swept away together."""
    with TemporaryDirectory(prefix=f"{destination.name}.", dir=destination.parent) as folder:
        path = Path(folder) / "download"
        try:
            # Only http and https come here.
            answer = urllib.request.urlopen(url, timeout=60)  # noqa: S310 # nosec B310
            with answer as response, path.open("wb") as file:
                while block := response.read(1 << 20):
                    file.write(block)
                if response.length:  # read(size) is silent when the connection breaks off
                    raise http.client.IncompleteRead(b"", response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceError(f"data.source = {url!r} cannot be fetched: {error}") from None
        yield path
