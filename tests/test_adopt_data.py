"""adopt_data.py as a user runs it, on tables as people have them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from tables import HARD, Customers, Hard, clean, known_afterwards, write, yes_no

from churn import environment

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The scripts with the settings of a fresh clone, in a folder with a space."""
    root = tmp_path / "a project"
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data").mkdir()
    shutil.copy(ROOT / "data" / "schema.yaml", root / "data")
    shutil.copy(ROOT / "params.yaml", root)
    return root


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if name not in environment.names()}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )


def does(project: Path, script: str, *arguments: str) -> str:
    done = run(project, f"src/{script}", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def adopts(project: Path, hard: Hard, **form: Any) -> str:
    table = write(project / "table.csv", hard.columns, **form)
    return does(project, "adopt_data.py", str(table), "--target", hard.target)


def refuses(project: Path, *arguments: str, code: int = 1) -> str:
    """The one line with which it fails, having written nothing."""
    before = contents(project)
    done = run(project, "src/adopt_data.py", *arguments)
    assert done.returncode == code, done.stderr
    assert contents(project) == before
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


def contents(project: Path) -> dict[str, bytes]:
    files = (project / "params.yaml", *sorted((project / "data").iterdir()))
    return {str(file): file.read_bytes() for file in files}


def params(project: Path) -> Any:
    return yaml.load((project / "params.yaml").read_text(), yaml.BaseLoader)  # noqa: S506


def schema(project: Path) -> Any:
    return yaml.load((project / "data" / "schema.yaml").read_text(), yaml.BaseLoader)  # noqa: S506


@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
def test_an_adopted_table_is_prepared_without_a_warning(make: Any, project: Path) -> None:
    hard: Hard = make()
    adopts(project, hard)
    does(project, "ingest_data.py")
    prepared = does(project, "prepare_data.py")
    assert f"{hard.target} = {hard.positive}" in prepared
    header = (project / "data" / "processed.csv").read_text().partition("\n")[0].split(",")
    excluded = {*hard.ids, *hard.leaks, hard.target, ""}
    assert set(header) - {"_split", hard.target} == set(hard.columns) - excluded


def test_what_is_set_in_params_and_that_their_comments_stay(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    said = adopts(project, known_afterwards())
    after = (project / "params.yaml").read_text()
    assert params(project)["data"] == {
        "source": "table.csv",
        "target": "churned",
        "positive": "yes",
        "drop": [],
        "id": "account",
    }
    assert params(project)["train"]["model"] == "auto"
    assert params(project)["evaluate"]["segments"] == ["region", "plan"]
    for line in before.splitlines():
        if comment := line.partition("#")[2]:
            assert comment in after
    # 36.0 % leave: calling everybody scores F1 0.530.
    assert params(project)["evaluate"]["gate_f1"] == "0.579"
    assert "gate_f1 0.579 (the best naive F1 0.530 plus a margin)" in said
    assert "then: dvc repro" in said


def test_the_schema_says_what_was_found_and_what_was_decided(project: Path) -> None:
    said = adopts(project, known_afterwards())
    columns = schema(project)["columns"]
    assert "account" not in columns
    assert columns["status"]["use"] == "no"
    assert columns["status"]["note"].startswith("leak suspect: ROC-AUC 0.99")
    assert columns["tenure"] == {"type": "integer", "min": "0"}
    assert columns["plan"] == {"type": "category", "values": ["Basic", "Plus", "Pro"]}
    assert schema(project)["positive_rate"] == "0.36"
    text = (project / "data" / "schema.yaml").read_text()
    assert "# 1. cancel_reason: leak suspect: there is a value for " in text
    assert " 1. cancel_reason: leak suspect: there is a value for " in said


def test_one_word_brings_an_excluded_column_back(project: Path) -> None:
    adopts(project, known_afterwards())
    path = project / "data" / "schema.yaml"
    before, status, after = path.read_text().partition("  status:\n")
    path.write_text(before + status + after.replace("use: no", "use: yes", 1))
    does(project, "ingest_data.py")
    does(project, "prepare_data.py")
    assert ",status," in (project / "data" / "processed.csv").read_text().partition("\n")[0]


def test_a_dry_run_prints_and_writes_nothing(project: Path) -> None:
    table = write(project / "table.csv", clean().columns)
    before = contents(project)
    said = does(project, "adopt_data.py", str(table), "--target", "churn", "--dry-run")
    assert contents(project) == before
    assert "nothing suspicious was found" in said
    assert "nothing was written" in said


@pytest.mark.parametrize(
    "form",
    [
        {"separator": ";"},
        {"separator": "\t"},
        {"separator": "|"},
        {"encoding": "utf-8-sig"},
        {"encoding": "utf-16"},
        {"encoding": "cp1252"},
    ],
    ids=str,
)
def test_a_table_in_any_usual_form(form: dict[str, str], project: Path) -> None:
    columns, _, left = Customers(1000, 1).made()
    fee = [f"{value:.2f}".replace(".", ",") for value in columns["fee"]]
    columns = {"N° client": [f"C{n:04}" for n in range(1000)], **columns, "fee": fee}
    columns = {"Ancienneté  (mois)" if n == "tenure" else n: v for n, v in columns.items()}
    hard = Hard(columns | {"Résilié ": ["VRAI" if x else "FAUX" for x in left]}, "résilié")
    adopts(project, hard, **form)
    assert params(project)["data"]["target"] == "Résilié"
    assert params(project)["data"]["positive"] == "VRAI"
    assert params(project)["data"]["id"] == "N° client"
    described = schema(project)["columns"]
    assert list(described) == ["Ancienneté (mois)", "fee", "calls", "plan", "region"]
    assert described["fee"] == {"type": "number", "min": "0", "decimal": ","}
    does(project, "ingest_data.py")
    does(project, "prepare_data.py")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems(end: str, project: Path) -> None:
    table = write(project / "table.csv", clean().columns)
    table.write_bytes(table.read_bytes().replace(b"\n", end.encode()))
    does(project, "adopt_data.py", str(table), "--target", "churn")
    assert list(schema(project)["columns"]) == ["tenure", "fee", "calls", "plan", "region"]


def test_a_parquet_file(project: Path) -> None:
    columns = clean().columns
    pl.DataFrame({name: list(values) for name, values in columns.items()}).write_parquet(
        project / "table.parquet"
    )
    does(project, "adopt_data.py", str(project / "table.parquet"), "--target", "churn")
    assert schema(project)["columns"]["fee"]["type"] == "number"
    does(project, "ingest_data.py")
    does(project, "prepare_data.py")


def test_a_table_from_anywhere_is_named_from_the_projects_root(project: Path) -> None:
    write(project.parent / "table.csv", clean().columns)
    done = subprocess.run(
        [sys.executable, "a project/src/adopt_data.py", "table.csv", "--target", "churn"],
        cwd=project.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "wrote data/schema.yaml" in done.stdout
    assert params(project)["data"]["source"] == str(project.parent.resolve() / "table.csv")


@pytest.mark.parametrize(
    ("columns", "arguments", "code", "said"),
    [
        ({}, ["--target", "chrun"], 2, "--target 'chrun' is not a column; did you mean 'churn'? "),
        ({"churn": ["0"] * 500}, ["--target", "churn"], 1, "'churn' has one class only: '0' (500 "),
        ({"churn": ["A", "B"] * 250}, ["--target", "churn"], 2, "add --positive 'A' or --positi"),
        ({"churn": ["A", "B"] * 250}, ["--target", "churn", "--positive", "C"], 2, "'C' is not a"),
        ({}, ["--target", "region"], 1, "the target 'region' has 4 different values: "),
        ({"churn": ["Yes", "No"] * 249 + ["", ""]}, ["--target", "churn"], 1, "line 500, 501"),
        ({"churn": ["Yes"] * 5 + ["No"] * 495}, ["--target", "churn"], 1, "smaller class has 5 r"),
        ({}, ["--target", "churn", "--leak-roc-auc", "2"], 2, "'2' is not a ROC-AUC above 0.5"),
        ({}, [], 2, "the following arguments are required: --target"),
    ],
)
def test_what_cannot_be_adopted_is_refused_with_one_line(
    columns: dict[str, list[str]], arguments: list[str], code: int, said: str, project: Path
) -> None:
    customers, _, left = Customers(500, 1).made()
    table = write(project / "table.csv", customers | {"churn": yes_no(left)} | columns)
    assert said in refuses(project, str(table), *arguments, code=code)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a,churn\n", "has a header and no rows"),
        (b"a,churn\n1,Yes\n2,No,3\n", "row 2 has 3 fields where the header has 2"),
        (b"a,churn\n1,Yes\n2\n", "row 2 has 1 fields where the header has 2"),
        (b"a,a,churn\n1,2,Yes\n", "more than one column named a"),
        (b"PK\x03\x04....", "is compressed or a spreadsheet"),
    ],
)
def test_a_file_that_is_no_table_is_refused(content: bytes, said: str, project: Path) -> None:
    (project / "table.csv").write_bytes(content)
    assert said in refuses(project, str(project / "table.csv"), "--target", "churn")


def test_a_file_that_does_not_exist_is_refused(project: Path) -> None:
    assert "no such file" in refuses(project, "nowhere.csv", "--target", "churn")


def test_a_table_without_a_feature_is_refused(project: Path) -> None:
    columns = {"n": range(500), "one": ["x"] * 500, "churn": ["Yes", "No"] * 250}
    table = write(project / "table.csv", columns)
    assert "is left as a feature" in refuses(project, str(table), "--target", "churn")


SHARED = ROOT.parent / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real tables are not in {SHARED}")
def test_real_tables(project: Path) -> None:
    said = does(project, "adopt_data.py", str(SHARED / "telco.csv"), "--target", "churn")
    assert "nothing suspicious was found" in said
    assert params(project)["data"]["id"] == "customerID"
    assert schema(project)["columns"]["TotalCharges"]["nullable"] == "yes"
    said = does(project, "adopt_data.py", str(SHARED / "iranian.csv"), "--target", "churn")
    assert "300 exact duplicate rows of 3,150" in said
    assert params(project)["data"]["id"] == ""
    assert len(schema(project)["columns"]) == 13
