"""Tables of any size, scored piece by piece in bounded memory."""

import io
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import polars as pl

from churn import table
from churn.errors import UserError
from churn.scorer import Scorer
from churn.table import FIRST_LINE

if TYPE_CHECKING:
    import pyarrow.parquet

PROBABILITY, PREDICTION, MODEL_VERSION = "probability", "prediction", "model_version"
LINE, REASON = "line", "reason"

_BLOCK = 4_000_000  # bytes of CSV
_ROWS = 100_000  # of Parquet
# Which problems of a value make a row bad; a category that training did not see does not.
_BAD = ("types", "limits", "missing")


class BatchError(UserError):
    """A table that cannot be scored."""


@dataclass(frozen=True)
class Piece:
    """Some rows of the table with every value as text, the number of the first one (from 0), and
    how many bytes or rows of the file they are."""

    rows: pl.DataFrame
    first: int
    size: int


@dataclass(frozen=True)
class Scored:
    """The good rows of a piece with their answers, and the bad ones with their line and reason."""

    good: pl.DataFrame
    bad: pl.DataFrame
    size: int


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def size(path: Path) -> int:
    """How much there is to do: the bytes of a CSV file, the rows of a Parquet file."""
    return int(_parquet(path).metadata.num_rows) if is_parquet(path) else path.stat().st_size


def pieces(path: Path) -> Iterator[Piece]:
    """The table, piece by piece. Raises BatchError where it cannot be read."""
    return _parquet_pieces(path) if is_parquet(path) else _csv_pieces(path)


def score(scorer: Scorer, version: str, found: Iterator[Piece]) -> Iterator[Scored]:
    """The pieces in their order, scored by as many threads as there are cores.

    Raises BatchError where the table lacks a column that the model needs.
    """
    cores = os.cpu_count() or 1
    waiting: deque[Future[Scored]] = deque()
    with ThreadPoolExecutor(cores) as threads:
        for number, piece in enumerate(found):
            if number == 0:
                check_columns(scorer, piece.rows.columns)
            waiting.append(threads.submit(_scored, scorer, version, piece))
            if len(waiting) > cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def check_columns(scorer: Scorer, names: list[str]) -> None:
    """Raises BatchError where a feature is missing or a column has a name that is needed."""
    lost = [name for name in scorer.schema.features if name not in names]
    if lost:
        raise BatchError(f"columns that the model needs are missing: {', '.join(lost)}")
    taken = [name for name in (PROBABILITY, PREDICTION, MODEL_VERSION) if name in names]
    if taken:
        raise BatchError(f"it has columns that are to be written: {', '.join(taken)}; rename them")


def _scored(scorer: Scorer, version: str, piece: Piece) -> Scored:
    features, problems = table.clean_features(piece.rows, scorer.schema)
    reasons: dict[int, list[str]] = {}
    for problem in problems:
        if problem.check in _BAD:
            for line in problem.lines:
                reasons.setdefault(line - FIRST_LINE, []).append(problem.said)
    rows = piece.rows
    at = sorted(reasons)
    bad = rows[at].select(
        pl.Series(LINE, [piece.first + each + FIRST_LINE for each in at], dtype=pl.Int64),
        pl.Series(REASON, ["; ".join(reasons[each]) for each in at], dtype=pl.String),
        pl.all(),
    )
    if at:
        good = pl.Series(range(rows.height)).is_in(at).not_()
        rows, features = rows.filter(good), features.filter(good)
    probabilities = pl.Series(scorer.probabilities(scorer.encode_frame(features)))
    answered = rows.with_columns(
        probabilities.alias(PROBABILITY),
        (probabilities >= scorer.schema.threshold).cast(pl.Int8).alias(PREDICTION),
        pl.lit(version).alias(MODEL_VERSION),
    )
    return Scored(answered, bad, piece.size)


def _csv_pieces(path: Path) -> Iterator[Piece]:
    with path.open("rb") as file:
        header = file.readline()
        if header.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise BatchError(f"{path} is UTF-16; save it as UTF-8")
        names = _read(path, header, header=True).columns
        first = 0
        while block := _whole_lines(file):
            rows = _read(path, block, header=False, names=names)
            yield Piece(rows, first, len(block))
            first += rows.height
    if first == 0:
        raise BatchError(f"{path} has no rows")


def _whole_lines(file: IO[bytes]) -> bytes:
    """About a block of the file that ends with a line. A line break between quotes ends none."""
    block = file.read(_BLOCK)
    if len(block) == _BLOCK:
        block += file.readline()
    while block.count(b'"') % 2 and (more := file.readline()):
        block += more
    return block


def _read(path: Path, content: bytes, header: bool, names: list[str] | None = None) -> pl.DataFrame:
    try:
        return pl.read_csv(
            io.BytesIO(content),
            has_header=header,
            new_columns=names,
            infer_schema=False,
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise BatchError(f"{path} cannot be read as CSV in UTF-8 with commas: {reason}") from None


def _parquet(path: Path) -> "pyarrow.parquet.ParquetFile":
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise BatchError(f"{path} cannot be read as Parquet: {error}") from None


def _parquet_pieces(path: Path) -> Iterator[Piece]:
    first = 0
    for batch in _parquet(path).iter_batches(batch_size=_ROWS):
        rows = pl.DataFrame(batch)
        yield Piece(rows.select(pl.all().cast(pl.String).fill_null("")), first, rows.height)
        first += rows.height


class Writer:
    """Appends pieces to a CSV or Parquet file. Nothing is written before the first piece."""

    def __init__(self, path: Path, parquet: bool) -> None:
        self._path = path
        self._parquet = parquet
        self._file: IO[bytes] | None = None
        self._tables: pyarrow.parquet.ParquetWriter | None = None
        self.rows = 0

    def append(self, rows: pl.DataFrame) -> None:
        if self._parquet:
            self._append_parquet(rows)
        else:
            begins = self._file is None
            if self._file is None:
                self._file = self._path.open("wb")
            rows.write_csv(self._file, include_header=begins)
        self.rows += rows.height

    def _append_parquet(self, rows: pl.DataFrame) -> None:
        import pyarrow.parquet

        found = rows.to_arrow()
        if self._tables is None:
            self._tables = pyarrow.parquet.ParquetWriter(self._path, found.schema)
        self._tables.write_table(found)

    def close(self) -> None:
        for opened in (self._file, self._tables):
            if opened is not None:
                opened.close()
