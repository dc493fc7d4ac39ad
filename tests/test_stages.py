"""ingest_data.py and prepare_data.py as a user runs them, most of all on what they must refuse."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn import environment

ROOT = Path(__file__).resolve().parents[1]

PARAMS = """\
data:
  source: sample
  target: left
  positive: Yes
  drop: []
  id:
split:
  test_size: 0.3
  salt: ""
train:
  version: v1
  seed: 42
  model: logistic_regression
  logistic_regression: {C: 1.0, max_iter: 1000}
  hist_gradient_boosting:
    learning_rate: 0.05
    max_iter: 150
    max_leaf_nodes: 15
    min_samples_leaf: 20
    l2_regularization: 0.0
  random_forest: {n_estimators: 200, min_samples_leaf: 5}
evaluate:
  gate_f1: 0.55
"""

SCHEMA = """\
columns:
  tenure:
    type: integer
    min: 0
  minutes:
    type: number
    nullable: true
  region:
    type: category
    values: [NO, NA, Yes]
"""

HEADER = "tenure,minutes,region,left"
ROWS = [
    f"{number},{number / 8},{('NO', 'NA', 'Yes')[number % 3]},{('Yes', 'No')[number % 2]}"
    for number in range(60)
]

# The largest file that a stage may write, in blocks of the shell: a disk that gets full.
BLOCKS = ("sh", "-c", 'ulimit -f "$BLOCKS" && exec "$@"', "sh")


def table(*rows: str, header: str = HEADER) -> str:
    """A table of sixty good rows and the given ones."""
    return "\n".join([header, *ROWS, *rows, ""])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The stages with their settings, in a folder with a space, and results of an earlier run."""
    root = tmp_path / "a project"
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data").mkdir()
    (root / "params.yaml").write_text(PARAMS)
    (root / "data" / "schema.yaml").write_text(SCHEMA)
    (root / "data" / "raw.csv").write_text(table())
    (root / "data" / "processed.csv").write_text("the table of an earlier run\n")
    return root


def edit(project: Path, old: str, new: str, name: str = "params.yaml") -> None:
    text = (project / name).read_text()
    assert old in text
    (project / name).write_text(text.replace(old, new))


def run(
    project: Path, script: str, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in environment.names()}
    return subprocess.run(
        [*BLOCKS, sys.executable, f"src/{script}", *arguments],
        cwd=project,
        env={"BLOCKS": "unlimited"} | kept | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def does(project: Path, script: str, *arguments: str, **variables: str) -> str:
    """What a stage says that succeeds, which is nothing about errors."""
    done = run(project, script, *arguments, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def fails(project: Path, script: str, *arguments: str, code: int = 1, **variables: str) -> str:
    """The one line of a stage that fails and leaves every file as it was, and no new one."""
    before = contents(project)
    done = run(project, script, *arguments, **variables)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""
    assert contents(project) == before
    return done.stderr.removeprefix("error: ").rstrip("\n")


def contents(project: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def processed(project: Path) -> list[dict[str, str]]:
    with (project / "data" / "processed.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# ingest_data.py


def test_ingest_takes_a_snapshot_and_says_what_it_took(project: Path) -> None:
    (project / "customers.csv").write_bytes(table("61,,NA,No").replace(",", ";").encode("utf-16"))
    edit(project, "source: sample", "source: customers.csv")
    assert does(project, "ingest_data.py") == (
        "data/raw.csv: 61 rows, 4 columns from customers.csv,"
        " read as utf-16, because it is not UTF-8, separated by ';'\n"
    )
    assert (project / "data" / "raw.csv").read_text().splitlines() == table("61,,NA,No").split()


def test_a_stage_may_be_called_from_anywhere(project: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, project / "src" / "ingest_data.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("data/raw.csv: 10,000 rows, 6 columns")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "data.source = 'customers.csv': no such file"),
        (b"", "customers.csv is empty"),
        (b"tenure,left\n", "customers.csv has a header and no rows"),
        (b"tenure,left\n1,Yes\n2\n", "customers.csv: row 2 has 1 fields where the header has 2"),
        (b'tenure,left\n1,"Yes\n2,No\n', "customers.csv is not a CSV file: unexpected end of data"),
        (b"tenure,tenure\n1,2\n", "customers.csv has more than one column named tenure"),
        (b"PAR1 and no more", "customers.csv is not a Parquet file that can be read"),
    ],
)
def test_ingest_refuses_what_is_no_table(content: bytes | None, said: str, project: Path) -> None:
    edit(project, "source: sample", "source: customers.csv")
    if content is not None:
        (project / "customers.csv").write_bytes(content)
    assert said in fails(project, "ingest_data.py")


def test_a_broken_row_far_down_leaves_no_half_written_snapshot(project: Path) -> None:
    edit(project, "source: sample", "source: customers.csv")
    (project / "customers.csv").write_text("a,b\n" + "1,2\n" * 100_000 + "3\n")
    assert "row 100001 has 1 fields" in fails(project, "ingest_data.py")


@pytest.mark.parametrize("source", ["data/raw.csv", "./data/../data/raw.csv"])
def test_the_snapshot_is_not_its_own_source(source: str, project: Path) -> None:
    edit(project, "source: sample", f"source: {source}")
    assert "is the snapshot itself" in fails(project, "ingest_data.py")


def test_the_snapshot_is_not_its_own_source_through_a_link(project: Path) -> None:
    # DVC's cache may be linked instead of copied.
    cached = project / "cached"
    (project / "data" / "raw.csv").rename(cached)
    (project / "data" / "raw.csv").symlink_to(cached)
    edit(project, "source: sample", "source: data/raw.csv")
    assert "is the snapshot itself" in fails(project, "ingest_data.py")


def test_a_query_needs_its_database(project: Path) -> None:
    edit(project, "source: sample", "source: SELECT * FROM customers")
    assert "set DATA_DATABASE_URL" in fails(project, "ingest_data.py")


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:s3cret@127.0.0.1:port/customers", "sqlite:////no/such/s3cret.db", "s3cret"],
)
def test_a_database_that_cannot_be_used_is_one_line_without_the_password(
    url: str, project: Path
) -> None:
    edit(project, "source: sample", "source: SELECT * FROM customers")
    assert "s3cret" not in fails(project, "ingest_data.py", DATA_DATABASE_URL=url)


def test_an_address_where_nobody_answers_is_one_line(project: Path) -> None:
    edit(project, "source: sample", "source: http://127.0.0.1:9/customers.csv")
    said = fails(project, "ingest_data.py", no_proxy="127.0.0.1")
    assert "'http://127.0.0.1:9/customers.csv' cannot be fetched" in said


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (PARAMS.replace("test_size", "test_sise"), "split.test_sise is not a known key (did you m"),
        (
            PARAMS.replace("seed: 42", "seed: x"),
            "train.seed = 'x': input should be a valid integer",
        ),
        (PARAMS.replace("0.3", "3"), "split.test_size = '3': input should be less than 1"),
        (PARAMS.partition("evaluate")[0], "params.yaml: evaluate is missing"),
        (PARAMS + "  - : [", "params.yaml is not valid YAML: "),
        ("- data\n- split\n", "params.yaml must hold a mapping of keys, not ['data', 'split']"),
        ("", "params.yaml must hold a mapping of keys"),
        (None, "params.yaml is missing; `git checkout params.yaml` brings it back"),
    ],
)
def test_wrong_params_are_one_line(params: str | None, said: str, project: Path) -> None:
    if params is None:
        (project / "params.yaml").unlink()
    else:
        (project / "params.yaml").write_text(params)
    assert said in fails(project, "ingest_data.py")


@pytest.mark.parametrize("script", ["ingest_data.py", "prepare_data.py"])
def test_wrong_usage_is_told_apart_by_its_exit_code(script: str, project: Path) -> None:
    said = fails(project, script, "--source", "x.csv", code=2)
    assert f"see python src/{script} --help" in said
    assert does(project, script, "--help").startswith(f"usage: python src/{script}")


# prepare_data.py


def test_prepare_says_what_it_made(project: Path) -> None:
    said = does(project, "prepare_data.py")
    rows = processed(project)
    tests = sum(row["_split"] == "test" for row in rows)
    assert said == (
        f"data/processed.csv: 60 rows ({60 - tests} train, {tests} test),"
        " 50.0% left = Yes, 0 exact duplicates dropped\n"
    )
    assert {row["left"] for row in rows} == {"0", "1"}
    assert list(rows[0]) == ["tenure", "minutes", "region", "left", "_split"]


def test_na_and_other_yaml_words_stay_regions_from_the_source_to_the_model(project: Path) -> None:
    regions = ["NO", "NA", "Yes", "NA"]
    source = pa.table(
        {
            "tenure": pa.array(range(60), pa.int32()),
            "minutes": pa.array([None if n % 4 == 0 else n / 8 for n in range(60)], pa.float64()),
            "region": [regions[n % 4] for n in range(60)],
            "left": ["Yes" if n % 2 else "No" for n in range(60)],
        }
    )
    pq.write_table(source, project / "customers.parquet")
    edit(project, "source: sample", "source: customers.parquet")
    does(project, "ingest_data.py")
    does(project, "prepare_data.py")
    rows = processed(project)
    assert [row["region"] for row in rows] == [regions[n % 4] for n in range(60)]
    assert [row["minutes"] for row in rows][:5] == ["", "0.125", "0.25", "0.375", ""]


def test_a_blank_number_stays_missing(project: Path) -> None:
    (project / "data" / "raw.csv").write_text(table("61,,NA,No", "62,   ,NA,Yes"))
    does(project, "prepare_data.py")
    assert [row["minutes"] for row in processed(project)[-2:]] == ["", ""]


def test_exact_duplicates_are_dropped_and_counted(project: Path) -> None:
    again = [ROWS[0], " 0 ,0.000,NO,Yes", ROWS[7], "7,0.875,NA,Yes"]
    (project / "data" / "raw.csv").write_text(table(*again))
    # The last row is the seventh with another label, which makes it another row.
    assert "61 rows" in (said := does(project, "prepare_data.py"))
    assert "3 exact duplicates dropped" in said


def test_rows_of_two_customers_are_no_duplicates(project: Path) -> None:
    edit(project, "id:", "id: customer")
    rows = [f"{row},c{number}" for number, row in enumerate([*ROWS, ROWS[0]])]
    (project / "data" / "raw.csv").write_text("\n".join([f"{HEADER},customer", *rows, ""]))
    assert "61 rows" in does(project, "prepare_data.py")


def splits(project: Path) -> dict[tuple[float, str, str], str]:
    """The split of each customer, told apart by its features."""
    does(project, "prepare_data.py")
    return {
        (float(row["tenure"]), row["minutes"], row["region"]): row["_split"]
        for row in processed(project)
    }


def test_a_customer_keeps_the_split_in_every_later_snapshot(project: Path) -> None:
    raw = project / "data" / "raw.csv"
    first = splits(project)
    assert set(first.values()) == {"train", "test"}

    raw.write_text("\n".join([HEADER, *reversed(ROWS), ""]))
    assert splits(project) == first, "the order of the rows"

    raw.write_text(table(*(f"{number},1.5,NA,No" for number in range(100, 200))))
    assert first.items() <= splits(project).items(), "other rows"

    raw.write_text(
        table().replace("Yes\n", "Left\n").replace("No\n", "Yes\n").replace("Left", "No")
    )
    assert splits(project) == first, "other labels"

    raw.write_text(table())
    columns = SCHEMA.removeprefix("columns:\n").split("  region:")
    (project / "data" / "schema.yaml").write_text(f"columns:\n  region:{columns[1]}{columns[0]}")
    assert splits(project) == first, "another order of the columns"

    edit(project, 'salt: ""', "salt: another")
    assert splits(project) != first


def test_the_id_keeps_a_customer_in_its_split_while_all_else_changes(project: Path) -> None:
    edit(project, "id:", "id: customer")
    raw = project / "data" / "raw.csv"

    def split_of_each() -> list[str]:
        does(project, "prepare_data.py")
        return [row["_split"] for row in processed(project)]

    raw.write_text("\n".join([f"{HEADER},customer", *(f"{r},c{n}" for n, r in enumerate(ROWS))]))
    first = split_of_each()
    moved = [f"{n + 1},{n / 4},NA,{('Yes', 'No')[n % 2]},c{n}" for n in range(60)]
    raw.write_text("\n".join([f"{HEADER},customer", *moved]))
    assert split_of_each() == first


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "data/raw.csv is missing; `dvc repro ingest` makes it"),
        ("", "data/raw.csv is empty; `dvc repro -f ingest` remakes it"),
        (HEADER + "\n", "data/raw.csv has a header and no rows"),
        (table().replace("left", "leaves"), "data.target names 'left', which is not a column"),
        (table().replace(",No\n", ",Yes\n"), "has only one class: 'Yes' in all 60 rows"),
        (table("61,1,NA,Maybe"), "target 'left' has 3 values where two are expected"),
        (
            table().replace("region", "area"),
            "missing: region; columns that data/schema.yaml does not know: area",
        ),
        (table("many,1,NA,No"), "tenure: 'many' is not a number (1 row: line 62)"),
        (table(",1,NA,No"), "tenure: is missing, and the schema does not say nullable"),
        (table("1e300,1,NA,No"), "tenure: '1e300' is "),
        (table("61,1,NA"), "data/raw.csv"),
        (table('61,1,"NA,No'), "data/raw.csv is not a snapshot by ingest"),
        ("\n".join([HEADER, *ROWS[:2], ""]), "; it needs both classes: more rows, or another spl"),
    ],
)
def test_prepare_refuses_a_table_that_does_not_fit(
    raw: str | None, said: str, project: Path
) -> None:
    if raw is None:
        (project / "data" / "raw.csv").unlink()
    else:
        (project / "data" / "raw.csv").write_text(raw)
    assert said in fails(project, "prepare_data.py")


def test_prepare_refuses_a_snapshot_that_ingest_did_not_write(project: Path) -> None:
    (project / "data" / "raw.csv").write_bytes(table("61,1,Zürich,No").encode("latin-1"))
    assert "is not a snapshot by ingest" in fails(project, "prepare_data.py")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("type: integer", "type: int", "columns.tenure.type = 'int': input should be 'integer', "),
        ("nullable", "nulable", "data/schema.yaml: columns.minutes.nulable is not a known key"),
    ],
)
def test_a_wrong_schema_is_one_line(old: str, new: str, said: str, project: Path) -> None:
    edit(project, old, new, "data/schema.yaml")
    assert said in fails(project, "prepare_data.py")


def test_a_missing_schema_is_one_line(project: Path) -> None:
    (project / "data" / "schema.yaml").unlink()
    assert "data/schema.yaml is missing" in fails(project, "prepare_data.py")


def test_a_place_that_cannot_be_written_is_one_line(project: Path) -> None:
    (project / "data" / "processed.csv").unlink()
    (project / "data" / "processed.csv").mkdir()
    assert "Is a directory" in fails(project, "prepare_data.py")


@pytest.mark.parametrize("script", ["ingest_data.py", "prepare_data.py"])
def test_a_disk_that_is_full_leaves_the_tables_of_the_run_before(
    script: str, project: Path
) -> None:
    rows = (f"{number},1.5,NA,No" for number in range(100, 500))
    (project / "data" / "raw.csv").write_text(table(*rows))
    assert "File too large" in fails(project, script, BLOCKS="2")
