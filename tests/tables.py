"""Tables that are hard to take up, with what is true of each: the same each time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Columns = dict[str, Any]
"""Values by the name of their column: anything with a length that can be iterated."""


@dataclass(frozen=True)
class Customers:
    """`rows` customers who leave by the probability that four of their columns give them."""

    rows: int
    seed: int

    @property
    def random(self) -> np.random.Generator:
        """Numbers that have nothing to do with the customers, always the same."""
        return np.random.default_rng(self.seed + 1000)

    def made(self) -> tuple[Columns, np.ndarray, np.ndarray]:
        """Their columns, their probabilities and whether they left (0 or 1)."""
        rng, rows = np.random.default_rng(self.seed), self.rows
        tenure = rng.integers(0, 73, rows)
        fee = np.round(rng.gamma(4, 15, rows), 2)
        calls = rng.poisson(1.2, rows)
        plan = rng.choice(["Basic", "Plus", "Pro"], rows, p=[0.5, 0.3, 0.2])
        region = rng.choice(["EU", "NA", "APAC", "LATAM"], rows)
        log_odds = -1.0 - 0.04 * (tenure - 30) + 0.6 * (calls - 1) + 0.01 * (fee - 60)
        log_odds = log_odds + np.where(plan == "Basic", 0.6, 0) + 0.4 * (region == "NA")
        probability = 1 / (1 + np.exp(-log_odds))
        left = (rng.random(rows) < probability).astype(int)
        columns: Columns = {
            "tenure": tenure,
            "fee": fee,
            "calls": calls,
            "plan": plan,
            "region": region,
        }
        return columns, probability, left


def yes_no(left: np.ndarray) -> np.ndarray:
    return np.where(left == 1, "Yes", "No")


def write(path: Path, columns: Columns, separator: str = ",", encoding: str = "utf-8") -> Path:
    """Write the columns as CSV; a value that holds the separator is quoted."""

    def field(value: Any) -> str:
        text = str(value)
        return f'"{text}"' if separator in text else text

    lines = [columns.keys(), *zip(*columns.values(), strict=True)]
    text = "".join(separator.join(map(field, line)) + "\n" for line in lines)
    path.write_bytes(text.encode(encoding))
    return path


@dataclass(frozen=True)
class Hard:
    """A table and the truth about it: the columns that are no features, and the positive class."""

    columns: Columns
    target: str
    positive: str = "Yes"
    ids: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    id: str | None = None


def clean() -> Hard:
    columns, _, left = Customers(3000, 1).made()
    return Hard(columns | {"churn": yes_no(left)}, "churn")


def sorted_ids() -> Hard:
    """Those who left come first, and the ids count the rows."""
    columns, _, left = Customers(3000, 2).made()
    order = np.argsort(-left, kind="stable")
    ids = 100_000 + np.sort(Customers(1, 2).random.choice(200_000, 3000, replace=False))
    columns = {"CustomerId": ids} | {name: np.asarray(v)[order] for name, v in columns.items()}
    left = np.where(left[order] == 1, "T", "F")
    return Hard(columns | {"gone": left}, "gone", "T", ids=("CustomerId",), id="CustomerId")


def probability_left_in() -> Hard:
    customers = Customers(4000, 3)
    columns, probability, left = customers.made()
    columns = {
        "": np.arange(4000),
        "id": customers.random.permutation(4000) + 1,
        **columns,
        "p": np.round(probability, 4),
        "churn": left,
    }
    return Hard(columns, "churn", "1", ids=("unnamed_1", "id"), leaks=("p",), id="id")


def probability_of_staying_in_per_cent() -> Hard:
    columns, probability, left = Customers(4000, 4).made()
    noise = Customers(1, 4).random.normal(0, 3, 4000)
    loyalty = np.clip(100 * (1 - probability) + noise, 0, 100).astype(int)
    return Hard(columns | {"loyalty": loyalty, "churn": yes_no(left)}, "churn", leaks=("loyalty",))


def two_scores_left_in() -> Hard:
    """A probability with noise, and points that are linear in the log-odds."""
    columns, probability, left = Customers(4000, 5).made()
    points = np.round(300 + 50 * np.log(probability / (1 - probability)), 1)
    old = np.round(np.clip(probability + Customers(1, 5).random.normal(0, 0.05, 4000), 0, 1), 3)
    columns |= {"points": points, "old": old, "churn": yes_no(left)}
    return Hard(columns, "churn", leaks=("points", "old"))


def known_afterwards() -> Hard:
    customers = Customers(3000, 6)
    columns, _, left = customers.made()
    rng = customers.random
    reasons = rng.choice(["price", "service", "moved"], 3000)
    dates = [f"2025-{month:02d}-15" for month in rng.integers(1, 13, 3000)]
    wrong = rng.random(3000) < 0.01
    columns = {
        "account": [f"A-{number}" for number in rng.permutation(10**6)[:3000]],
        **columns,
        "cancel_reason": np.where((left == 1) & (rng.random(3000) < 0.7), reasons, ""),
        "cancel_date": np.where(left == 1, dates, ""),
        "status": np.where(left ^ wrong, "closed", "open"),
        "called_back": np.where((left == 1) & (rng.random(3000) < 0.4), "yes", "no"),
        "final_bill": np.where(left == 1, columns["fee"], "0"),
        "churned": np.where(left == 1, "yes", "no"),
    }
    leaks = ("cancel_reason", "cancel_date", "status", "called_back", "final_bill")
    return Hard(columns, "churned", "yes", ids=("account",), leaks=leaks, id="account")


def several_rows_each() -> Hard:
    """A row a month, with grouped thousands and booleans of every kind."""
    customers = Customers(6000, 7)
    columns, _, left = customers.made()
    rng = customers.random
    fee = np.asarray(columns["fee"]) * 100
    columns = {
        "customer_id": rng.integers(0, 600, 6000) + 10_000,
        **columns,
        "fee": [f"{value:,.2f}" for value in fee],
        "vip": rng.choice(["True", "False"], 6000),
        "paper": rng.choice(["Y", "N"], 6000),
        "store_id": rng.integers(1, 40, 6000),
        "discount": [f"{value:.1f}%" for value in rng.random(6000) * 30],
        "income": np.round(rng.lognormal(10, 1, 6000), 2),
        "churned": left,
    }
    return Hard(columns, "churned", "1", ids=("customer_id",), id="customer_id")


def big_ids() -> Hard:
    """An id in a range so wide that numbers drawn from it hardly ever repeat."""
    customers = Customers(2000, 8)
    columns, _, left = customers.made()
    numbers = customers.random.choice(10**8, 2000, replace=False) + 7 * 10**8
    flag = np.where(left == 1, "Attrited Customer", "Existing Customer")
    columns = {"CLIENTNUM": numbers, "ref": numbers[::-1] + 3, **columns, "flag": flag}
    ids = ("CLIENTNUM", "ref")
    return Hard(columns, "flag", "Attrited Customer", ids=ids, id="CLIENTNUM")


HARD: tuple[Callable[[], Hard], ...] = (
    clean,
    sorted_ids,
    probability_left_in,
    probability_of_staying_in_per_cent,
    two_scores_left_in,
    known_afterwards,
    several_rows_each,
    big_ids,
)
