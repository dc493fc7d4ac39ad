"""score.py on real files: what it writes, what it rejects, what it leaves when it is stopped."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
from conftest import Serve, moved, registry_of, wait_until
from project import Project, local_environment

from churn import batch
from churn.batch import BatchError
from churn.served import Served

SCORE = ("python", "src/score.py")


@pytest.fixture
def production(trained: Project) -> Iterator[Project]:
    moved(trained, "promote 2")
    yield trained


@pytest.fixture
def table(production: Project) -> pl.DataFrame:
    return pl.read_csv(production.root / "data/raw.csv", infer_schema=False).head(500)


def test_a_file_gets_the_answers_of_the_api(
    production: Project, table: pl.DataFrame, tmp_path: Path, serve: Serve
) -> None:
    table.write_csv(tmp_path / "in.csv")
    said = production.do(*SCORE, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    assert "out.csv: 500 rows scored by churn_model version 2" in said
    scored = pl.read_csv(tmp_path / "out.csv", infer_schema=False)
    assert scored.columns == [*table.columns, "probability", "prediction", "model_version"]
    assert scored.select(table.columns).equals(table)
    assert scored["model_version"].unique().to_list() == ["2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]

    api = serve(production)
    api.wait_for_version("2")
    numbers = {"tenure_months": int, "num_complaints": int, "avg_session_minutes": float}
    rows = [
        {name: numbers.get(name, str)(value) for name, value in row.items() if value != ""}
        | {name: None for name, value in row.items() if value == ""}
        for row in table.drop("churn").with_columns(pl.all().fill_null("")).to_dicts()
    ]
    answers = api.client.post("/predict/batch", json={"rows": rows}).json()
    assert answers["errors"] == []
    found = [answer["probability"] for answer in answers["predictions"]]
    assert scored["probability"].cast(pl.Float64).to_list() == pytest.approx(found, abs=1e-12)


def test_bad_rows_go_to_their_own_file_with_the_line_and_the_reason(
    production: Project, table: pl.DataFrame, tmp_path: Path
) -> None:
    text = table.write_csv().splitlines()
    at = table.columns.index("tenure_months")
    for line, value in ((3, "many"), (7, "-5"), (400, "")):
        fields = text[line - 1].split(",")
        fields[at] = value
        text[line - 1] = ",".join(fields)
    (tmp_path / "in.csv").write_text("\n".join(text) + "\n")
    said = production.do(*SCORE, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    assert "out.csv: 497 rows scored" in said
    assert "out.rejected.csv: 3 rows rejected" in said
    rejected = pl.read_csv(tmp_path / "out.rejected.csv", infer_schema=False)
    assert rejected["line"].to_list() == ["3", "7", "400"]
    assert [reason.partition(": ")[2] for reason in rejected["reason"]] == [
        "'many' is not a number",
        "'-5' is below the minimum 0",
        "is missing, and the schema does not say nullable",
    ]
    assert rejected.columns[2:] == table.columns
    # Once mended, the old file goes.
    table.write_csv(tmp_path / "in.csv")
    production.do(*SCORE, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    assert not (tmp_path / "out.rejected.csv").exists()


def test_parquet_and_csv_get_the_same_scores(
    production: Project, table: pl.DataFrame, tmp_path: Path
) -> None:
    pl.read_csv(table.write_csv().encode()).write_parquet(tmp_path / "in.parquet")
    table.write_csv(tmp_path / "in.csv")
    for ending in ("parquet", "csv"):
        names = (str(tmp_path / f"in.{ending}"), str(tmp_path / f"out.{ending}"))
        production.do(*SCORE, *names, "--version", "1")
    one = pl.read_parquet(tmp_path / "out.parquet")
    other = pl.read_csv(tmp_path / "out.csv")
    assert one["probability"].to_list() == pytest.approx(other["probability"].to_list(), abs=1e-15)
    assert one["model_version"].unique().to_list() == ["1"]


def test_what_cannot_be_scored_is_one_line_and_leaves_no_file(
    production: Project, table: pl.DataFrame, tmp_path: Path
) -> None:
    inside, out = tmp_path / "in.csv", tmp_path / "out.csv"
    names = (str(inside), str(out))
    assert f"there is no file {inside}" in production.refused(*SCORE, *names)
    table.write_csv(inside)
    assert "is the table itself" in production.refused(*SCORE, str(inside), str(inside))
    table.drop("region").write_csv(inside)
    assert "are missing: region" in production.refused(*SCORE, *names)
    table.with_columns(pl.lit("1").alias("probability")).write_csv(inside)
    assert "to be written: probability" in production.refused(*SCORE, *names)
    inside.write_text("a,b\n1,2,3\n")
    assert "cannot be read as CSV" in production.refused(*SCORE, *names)
    inside.write_text(",".join(table.columns) + "\n")
    assert "has no rows" in production.refused(*SCORE, *names)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_stopped_half_way_it_leaves_what_was_there(
    production: Project, table: pl.DataFrame, tmp_path: Path
) -> None:
    inside, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table.sample(3_000_000, with_replacement=True, seed=1).write_csv(inside)
    out.write_text("before\n")
    process = subprocess.Popen(
        [sys.executable, *SCORE[1:], str(inside), str(out)],
        cwd=production.root,
        env=local_environment(MLFLOW_TRACKING_URI=production.mlflow_uri),
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: any(path.stat().st_size > 0 for path in tmp_path.glob(".out.csv.*")))
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert out.read_text() == "before\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_a_line_break_between_quotes_ends_no_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pl.DataFrame({"text": [f'line {n}\n"quoted"\n' * (n % 3) for n in range(200)]})
    rows = rows.with_columns(number=pl.Series([str(n) for n in range(200)]))
    rows.write_csv(tmp_path / "in.csv")
    monkeypatch.setattr(batch, "_BLOCK", 100)
    pieces = list(batch.pieces(tmp_path / "in.csv"))
    assert len(pieces) > 10
    assert pl.concat([piece.rows for piece in pieces]).equals(rows)
    firsts = [piece.first for piece in pieces]
    assert firsts == [sum(p.rows.height for p in pieces[:at]) for at in range(len(pieces))]


def test_pieces_are_scored_in_their_order(
    production: Project, table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_of(production)
    scorer = Served.load(registry, registry.version("2")).scorer
    table.write_csv(tmp_path / "in.csv")
    whole = [each.good for each in batch.score(scorer, "2", batch.pieces(tmp_path / "in.csv"))]
    monkeypatch.setattr(batch, "_BLOCK", 1000)
    parts = [each.good for each in batch.score(scorer, "2", batch.pieces(tmp_path / "in.csv"))]
    assert len(parts) > 10 > len(whole)
    assert pl.concat(parts).equals(pl.concat(whole))
    with pytest.raises(BatchError, match="are missing"):
        list(batch.score(scorer, "2", iter([batch.Piece(table.select("churn"), 0, 1)])))


def test_without_production_it_says_what_to_do(trained: Project, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    line = trained.refused(*SCORE, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    assert "no version of churn_model is in production: `python src/promote.py`" in line
    assert httpx.get(f"{trained.mlflow_uri}/health").status_code == 200
