from churn.split import TEST, TRAIN, assign

CUSTOMERS = [f"customer-{number}" for number in range(20_000)]


def held_out(names: list[str], test_size: float = 0.2, salt: str = "") -> set[str]:
    splits = assign(names, test_size, salt)
    return {name for name, split in zip(names, splits, strict=True) if split == TEST}


def test_the_hash_is_the_one_of_every_earlier_snapshot() -> None:
    # Another hash would put customers that an older model was trained on into the test split.
    first = CUSTOMERS[:24]
    assert held_out(first) == {"customer-5", "customer-15", "customer-18", "customer-20"}
    assert held_out(first, salt="b") == {"customer-12"}
    assert held_out(["", "Zürich", "12.0\x1f'NA'"], 0.5) == {"Zürich"}


def test_a_row_keeps_its_split_whatever_stands_around_it() -> None:
    among_all = held_out(CUSTOMERS)
    assert held_out(CUSTOMERS[::-1]) == among_all
    few = CUSTOMERS[::7]
    assert held_out(few) == among_all & set(few)


def test_equal_rows_land_together() -> None:
    assert len(set(assign(["customer-5"] * 10, 0.5, ""))) == 1


def test_the_share_of_test_rows_is_near_what_was_asked() -> None:
    # Four standard deviations of a binomial share of 20,000.
    for test_size in (0.05, 0.2, 0.5, 0.9):
        share = len(held_out(CUSTOMERS, test_size)) / len(CUSTOMERS)
        assert abs(share - test_size) < 4 * (test_size * (1 - test_size) / len(CUSTOMERS)) ** 0.5


def test_a_larger_test_split_keeps_the_smaller_one() -> None:
    assert held_out(CUSTOMERS, 0.1) < held_out(CUSTOMERS, 0.2)


def test_another_salt_makes_an_independent_split() -> None:
    both = held_out(CUSTOMERS) & held_out(CUSTOMERS, salt="another")
    assert 0.03 < len(both) / len(CUSTOMERS) < 0.05


def test_every_row_is_in_one_of_two_splits() -> None:
    assert set(assign(CUSTOMERS, 0.2, "")) == {TRAIN, TEST}
    assert assign([], 0.2, "") == []
