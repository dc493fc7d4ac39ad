"""Every identifier and every leak of a hard table is found, and no good column is thrown away."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tables import HARD, Customers, Hard, clean, sorted_ids, write, yes_no

from churn import profile, source, table, traps
from churn.identifiers import words_of
from churn.proposal import Proposal


def proposal_of(hard: Hard, folder: Path) -> Proposal:
    texts = source.texts(str(write(folder / "table.csv", hard.columns)), "")
    labels, problems = table.encode_target(texts[hard.target], hard.positive, ("",))
    assert not problems
    copies = table.repeated(texts)
    distinct = texts.filter(~copies).drop(hard.target)
    seen = profile.look_at(distinct, labels.filter(~copies).to_numpy())
    proposal = traps.settle(seen, hard.target)
    proposal.findings += traps.find_duplicates(distinct, int(copies.sum()), proposal.id)
    return proposal


def with_columns(**columns: object) -> Hard:
    """Three thousand clean customers with further columns."""
    hard = clean()
    return Hard(columns | hard.columns, hard.target)


def said(proposal: Proposal) -> str:
    return "\n".join(finding.said for finding in proposal.findings)


@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
def test_ids_and_leaks_are_excluded_and_nothing_else(make: object, tmp_path: Path) -> None:
    hard: Hard = make()  # type: ignore[operator]
    proposal = proposal_of(hard, tmp_path)
    excluded = {name for name, column in proposal.columns.items() if not column.use}
    assert excluded == {*hard.ids, *hard.leaks}
    assert proposal.id == hard.id
    for name in hard.leaks:
        assert f"{name}: leak suspect: " in said(proposal)
        assert "brings it back" in said(proposal)
    for name in {*hard.ids} - {hard.id}:
        assert proposal.columns[name].type == "identifier"


def test_a_clean_table_gets_no_warning(tmp_path: Path) -> None:
    assert proposal_of(clean(), tmp_path).findings == []


def test_an_id_whose_order_tells_the_target_is_named_with_the_evidence(tmp_path: Path) -> None:
    first = proposal_of(sorted_ids(), tmp_path).findings[0].said
    assert first.startswith("CustomerId: its order alone tells the target, ROC-AUC 1.000")


def test_the_roc_auc_above_which_a_column_is_a_leak_can_be_chosen(tmp_path: Path) -> None:
    columns, _, left = Customers(3000, 9).made()
    noisy = left + Customers(1, 9).random.normal(0, 0.55, 3000)
    hard = Hard(columns | {"usage": noisy.round(3), "churn": yes_no(left)}, "churn")
    kept = proposal_of(hard, tmp_path)
    assert kept.columns["usage"].use
    assert "usage: ROC-AUC 0.90" in said(kept)
    texts = pl.read_csv(tmp_path / "table.csv", infer_schema=False).drop("churn")
    excluded = traps.settle(profile.look_at(texts, left), "churn", leak_roc_auc=0.85)
    assert "leak suspect: ROC-AUC 0.90" in excluded.columns["usage"].note


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (["x"] * 3000, "constant: one value in all rows"),
        ([""] * 3000, "always empty"),
        (["a"] * 2990 + ["b"] * 10, "nearly constant: 99.67% of the rows have one value"),
        (range(3000), "row number: 3,000 consecutive numbers in the order of the rows"),
        ([f"u{n}@example.org" for n in range(3000)], "identifier: 3,000 different values in 3,000"),
        ([f"word {n % 999} of a text {n}" for n in range(3000)], "free text or too many categor"),
        ([f"name{n % 1500}" for n in range(3000)], "free text or too many categories: 1,500 diff"),
    ],
)
def test_a_column_that_can_be_no_feature_is_excluded(
    values: list[str], note: str, tmp_path: Path
) -> None:
    column = proposal_of(with_columns(extra=values), tmp_path).columns["extra"]
    assert not column.use
    assert column.note.startswith(note)


def test_a_rare_value_that_tells_the_target_is_kept(tmp_path: Path) -> None:
    columns, _, left = Customers(3000, 1).made()
    rare = np.where((left == 1) & (np.arange(3000) % 45 == 0), "complained", "-none-")
    proposal = proposal_of(
        Hard({"rare": rare, **columns, "churn": yes_no(left)}, "churn"), tmp_path
    )
    assert (rare == "-none-").mean() > 0.99
    assert proposal.columns["rare"].use


def test_a_missing_value_that_tells_the_target_is_named_and_kept(tmp_path: Path) -> None:
    columns, _, left = Customers(3000, 1).made()
    gone = Customers(1, 1).random.random(3000) < np.where(left == 1, 0.5, 0.1)
    bonus = np.where(gone, "", "5")
    bonus[:200] = np.where(gone[:200], "", "7")
    hard = Hard({"bonus": bonus, **columns, "churn": yes_no(left)}, "churn")
    proposal = proposal_of(hard, tmp_path)
    assert proposal.columns["bonus"].use
    assert "bonus: whether it is missing tells the target: missing for 5" in said(proposal)


@pytest.mark.parametrize(
    ("sentinel", "others", "found"),
    [
        (-1, range(0, 300), True),
        (999, range(18, 90), True),
        (-999, range(-50, 50), False),
        (999, range(500, 1500), False),
        (99, range(0, 100), False),
    ],
)
def test_a_number_far_from_all_others_counts_as_missing(
    sentinel: int, others: range, found: bool, tmp_path: Path
) -> None:
    values = [sentinel if row % 20 == 0 else others[row * 7 % len(others)] for row in range(3000)]
    proposal = proposal_of(with_columns(age=values), tmp_path)
    assert proposal.columns["age"].missing_values == ((str(sentinel),) if found else ())
    assert (f"age: {sentinel} in " in said(proposal)) is found
    assert proposal.columns["age"].nullable is found


def test_words_for_nothing_are_missing_among_numbers_and_named_among_categories(
    tmp_path: Path,
) -> None:
    numbers = ["?" if row % 50 == 0 else row % 40 for row in range(3000)]
    grades = [("A", "B", "Unknown")[row % 3] for row in range(3000)]
    proposal = proposal_of(with_columns(points=numbers, grade=grades), tmp_path)
    assert proposal.columns["points"].type == "integer"
    assert proposal.columns["points"].missing_values == ("?",)
    assert proposal.columns["grade"].values == ("A", "B", "Unknown")
    assert "points: '?' counts as missing" in said(proposal)
    assert "grade: 'Unknown' may mean missing; kept as a category" in said(proposal)


def test_one_category_in_several_spellings_is_merged(tmp_path: Path) -> None:
    cities = [
        ("São Paulo", "SAO PAULO", "são  paulo", "Rio", "Rio")[row % 5] for row in range(3000)
    ]
    proposal = proposal_of(with_columns(city=cities), tmp_path)
    column = proposal.columns["city"]
    assert column.fold
    assert column.values == ("Rio", "SAO PAULO")
    assert {column.clean(text) for text in set(cities)} == {"Rio", "SAO PAULO"}
    assert column.clean("sao paulo ") == "SAO PAULO"
    assert "city: the same but for case, space or accent" in said(proposal)


def test_categories_with_one_row_are_counted(tmp_path: Path) -> None:
    shops = [f"lone{row}" if row < 7 else f"shop{row % 9}" for row in range(3000)]
    assert "one row only: shop (7)" in said(proposal_of(with_columns(shop=shops), tmp_path))


def test_a_date_is_used_and_named(tmp_path: Path) -> None:
    dates = [f"{1 + row % 28:02d}.{1 + row % 12:02d}.{2015 + row % 9}" for row in range(3000)]
    proposal = proposal_of(with_columns(since=dates), tmp_path)
    assert proposal.columns["since"].format == "%d.%m.%Y"
    assert proposal.columns["since"].use
    assert "since: a date, used as its days since 1970" in said(proposal)


def test_copies_and_contradictions_are_counted(tmp_path: Path) -> None:
    hard = clean()
    rows = {name: [*values, *values[:30], *values[30:35]] for name, values in hard.columns.items()}
    opposite = {"Yes": "No", "No": "Yes"}
    rows["churn"] = [*rows["churn"][:3030], *(opposite[value] for value in rows["churn"][30:35])]
    findings = said(proposal_of(Hard(rows, "churn"), tmp_path))
    assert "30 exact duplicate rows of 3,035; prepare_data.py drops them" in findings
    assert "5 rows are equal to another one in all but the target" in findings


def test_findings_are_ranked_leaks_first(tmp_path: Path) -> None:
    _, _, left = Customers(3000, 1).made()
    ages = [999 if row % 20 == 0 else 20 + row % 60 for row in range(3000)]
    proposal = proposal_of(with_columns(age=ages, copy=left), tmp_path)
    assert proposal.findings[0].said.startswith("copy: leak suspect: ROC-AUC 1.000 alone")
    assert [f.rank for f in proposal.findings] == sorted(f.rank for f in proposal.findings)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("customerID", ["customer", "id"]),
        ("Customer Id", ["customer", "id"]),
        ("HTTPServer_2", ["http", "server", "2"]),
        ("N° client", ["n", "client"]),
    ],
)
def test_a_name_is_cut_into_its_words(name: str, words: list[str]) -> None:
    assert words_of(name) == words
