"""A table that nobody has seen: what each column is, and how much it alone tells of the target."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from churn.inference import Inferred, infer

# A column of numbers is cut into groups of equal size, so many rows each, to see what each tells.
_BIN_ROWS = 200
_MOST_BINS = 256
_CELLS = 1 << 16
_TELLING = 0.05
_STANDARD_ERRORS = 5
# The rows on which columns are compared with one another.
_SAMPLE = 20_000


@dataclass(frozen=True)
class Facet:
    """One column: what it is, and what it alone tells of the target.

    `roc_auc` (0.5 to 1) is the larger of two: that of the value itself in its order, whichever way
    it points, and that of each group's share of positives, learnt on one half of the rows and
    scored on the other. `rest` holds rows and positives of all values but the most frequent one,
    whose share of the rows is `top_share`. `missing_roc_auc` is that of whether the value is
    missing. `by_value` holds the rows of both classes (those who stay, those who leave) by each
    value of a boolean or category, and by whether there is one. Of each row of the sample, shape
    (sample rows,), `log_odds` is what its group has learnt from the other half, and `places` is
    where its value stands in the order, -1 to 1 (0 where it is missing or has no order).
    """

    name: str
    inferred: Inferred
    missing: int
    top_share: float
    rest: tuple[int, int]
    roc_auc: float
    missing_roc_auc: float
    missing_rates: tuple[float, float]
    by_value: dict[str, tuple[int, int]]
    log_odds: NDArray[np.float64] = field(repr=False)
    places: NDArray[np.float64] = field(repr=False)

    @property
    def distinct(self) -> int:
        return self.inferred.distinct


@dataclass(frozen=True)
class Profile:
    """A table's distinct rows, its target (0 or 1, shape (rows,)) and its other columns."""

    facets: dict[str, Facet]
    target: NDArray[np.int64]
    sample: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return len(self.target)

    @property
    def positive_rate(self) -> float:
        return float(self.target.mean())

    def is_telling(self, roc_auc: float) -> bool:
        """Whether a ROC-AUC is above 0.5 by more than chance explains, and enough to matter."""
        return roc_auc - 0.5 > max(_TELLING, _STANDARD_ERRORS * self.chance())

    def chance(self) -> float:
        """The standard error of the ROC-AUC of a column that tells nothing (Hanley and McNeil)."""
        positives = max(int(self.target.sum()), 1)
        negatives = max(self.rows - positives, 1)
        return float(np.sqrt((self.rows + 1) / (12 * positives * negatives)))


Watch = Callable[[Iterable[Facet]], Iterable[Facet]]


def look_at(table: pl.DataFrame, target: NDArray[np.int64], watch: Watch = iter) -> Profile:
    """The profile of a table whose values are texts, shape (rows, columns without the target).

    `watch` wraps the columns while they are looked at, for a progress bar.
    """
    plain = table.select(pl.all().cast(pl.Float64, strict=False))
    rng = np.random.default_rng(0)
    half = rng.integers(0, 2, len(target))
    sample = np.sort(rng.permutation(len(target))[:_SAMPLE])

    def facet(name: str) -> Facet:
        inferred = infer(table[name], plain[name])
        return _facet(table[name], inferred, target, half, sample)

    # Polars and numpy leave the interpreter to other threads while they work.
    with ThreadPoolExecutor() as threads:
        facets = dict(zip(table.columns, watch(threads.map(facet, table.columns)), strict=True))
    return Profile(facets, target, sample)


def _facet(
    texts: pl.Series,
    inferred: Inferred,
    target: NDArray[np.int64],
    half: NDArray[np.int64],
    sample: NDArray[np.int64],
) -> Facet:
    numbers = inferred.numbers
    if numbers is None and inferred.column.type in ("identifier", "text"):
        numbers = _order(texts)
    if numbers is not None:
        ranks = _ranks(numbers)
        ordered = _roc_auc_of_ranks(ranks, target)
        places = _places(ranks)
        bins = int(np.clip(len(ranks) // _BIN_ROWS, 10, _MOST_BINS))
        codes = np.minimum((places + 1) / 2 * bins, bins - 1).astype(np.int64)
    else:
        ordered = 0.5
        places = np.zeros(len(texts))
        codes = _codes(texts, inferred.counts)
    missing = inferred.missing.to_numpy().astype(np.int64)
    codes = np.where(missing == 1, 0, codes + 1)
    counts = np.bincount(codes * 4 + half * 2 + target, minlength=4 * (int(codes.max()) + 1))
    table = counts.reshape(-1, 2, 2)
    log_odds = _log_odds(table)
    by_class = table.sum(axis=1)
    rest = np.delete(by_class, by_class.sum(axis=1).argmax(), axis=0)
    rates = tuple(float(missing[target == label].mean()) for label in (0, 1))
    return Facet(
        name=texts.name,
        inferred=inferred,
        missing=int(missing.sum()),
        top_share=1 - float(rest.sum() / len(target)),
        rest=(int(rest.sum()), int(rest[:, 1].sum())),
        roc_auc=max(ordered, _cross_fitted_roc_auc(table, log_odds)),
        missing_roc_auc=0.5 + abs(rates[1] - rates[0]) / 2,
        missing_rates=(rates[0], rates[1]),
        by_value=_by_value(inferred, by_class),
        log_odds=log_odds[codes[sample], half[sample]],
        places=places[sample],
    )


def _by_value(inferred: Inferred, by_class: NDArray[np.int64]) -> dict[str, tuple[int, int]]:
    """Rows of both classes by what is said of their value; group 0 of `by_class` is "missing"."""
    groups = by_class[1:]
    found: dict[str, NDArray[np.int64]] = {}
    if by_class[0].any():
        found = {"it is missing": by_class[0], "there is a value": groups.sum(axis=0)}
    names = list(inferred.counts)
    if inferred.column.type == "boolean":  # whose groups are bins, in the order of the values
        names, groups = list(inferred.column.values), groups[groups.any(axis=1)]
    if inferred.column.type in ("boolean", "category"):
        found |= {f"it is {name!r}": rows for name, rows in zip(names, groups, strict=False)}
    return {said: (int(rows[0]), int(rows[1])) for said, rows in found.items()}


def value_range(numbers: pl.Series) -> tuple[float, float]:
    """The smallest and the largest of the numbers that are there."""
    present = numbers.drop_nulls().to_numpy()
    return float(present.min()), float(present.max())


def _order(texts: pl.Series) -> pl.Series:
    """The place of each text among the others: by its last number where each has one."""
    digits = texts.str.extract(r"(\d+)\D*$").cast(pl.Float64, strict=False)
    return digits if digits.null_count() == 0 else texts.rank("dense").cast(pl.Float64)


def _ranks(numbers: pl.Series) -> NDArray[np.float64]:
    """The average rank of each number, from 1; NaN where there is none.

    Sorting a million numbers takes longer than all the rest, so they are counted into cells of
    equal width. That is exact for whole numbers within _CELLS of each other; others share a rank
    if they are closer than a cell. Where the numbers crowd into few cells they are sorted.
    """
    values = numbers.to_numpy()
    known = ~np.isnan(values)
    present = values[known] if numbers.null_count() else values
    ranks = np.full(len(values), np.nan)
    if not len(present):
        return ranks
    low, width = present.min(), present.max() - present.min()
    exact = width < _CELLS and not np.mod(present, 1).any()
    cells = (present - low if exact else (present - low) * ((_CELLS - 1) / width)).astype(np.int64)
    counts = np.bincount(cells)
    if not exact and counts.max() > len(present) / _MOST_BINS:
        return numbers.rank("average").cast(pl.Float64).to_numpy()
    ranks[known] = (np.cumsum(counts) - (counts - 1) / 2)[cells]
    return ranks


def _places(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where each value stands, from -1 to 1; 0 where there is none."""
    present = max(int(np.count_nonzero(~np.isnan(ranks))), 1)
    places: NDArray[np.float64] = np.nan_to_num((ranks - 0.5) * (2 / present) - 1)
    return places


def _codes(texts: pl.Series, counts: dict[str, int]) -> NDArray[np.int64]:
    """A number for each category, -1 for what is none."""
    names = list(counts)
    if not names:
        return np.zeros(len(texts), np.int64)
    numbered = range(len(names))
    codes = texts.replace_strict(names, list(numbered), default=-1, return_dtype=pl.Int64)
    if (codes == -1).any():  # by white space around it, or because it is missing
        stripped = texts.str.strip_chars()
        codes = stripped.replace_strict(names, list(numbered), default=-1, return_dtype=pl.Int64)
    return codes.to_numpy()


def _roc_auc_of_ranks(ranks: NDArray[np.float64], target: NDArray[np.int64]) -> float:
    """The Mann-Whitney statistic of the rows that have a rank, turned so that it is 0.5 or more."""
    of_positives = ranks[target == 1]
    positives = np.count_nonzero(~np.isnan(of_positives))
    negatives = np.count_nonzero(~np.isnan(ranks)) - positives
    if not positives or not negatives:
        return 0.5
    above = float(np.nansum(of_positives)) - positives * (positives + 1) / 2
    area = above / (positives * negatives)
    return max(area, 1 - area)


def _log_odds(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The log-odds of each group as a row of each half learns them from the other half.

    `counts` has shape (groups, halves, classes). Half a positive and half a negative are added by
    the base rate, so that a small group says little.
    """
    other = counts[:, ::-1, :].astype(np.float64)
    totals = other.sum(axis=0, keepdims=True)
    base = totals / np.maximum(totals.sum(axis=2, keepdims=True), 1)
    smooth = other + np.maximum(base, 1e-9)
    odds: NDArray[np.float64] = np.log(smooth[:, :, 1] / smooth[:, :, 0])
    return odds


def _cross_fitted_roc_auc(counts: NDArray[np.int64], log_odds: NDArray[np.float64]) -> float:
    areas = []
    for half in (0, 1):
        order, inverse = np.unique(log_odds[:, half], return_inverse=True)
        negatives, positives = (
            np.bincount(inverse, weights=counts[:, half, label], minlength=len(order))
            for label in (0, 1)
        )
        pairs = positives.sum() * negatives.sum()
        below = np.cumsum(negatives) - negatives / 2
        areas.append(float((positives * below).sum() / pairs) if pairs else 0.5)
    return max(sum(areas) / 2, 0.5)
