"""What is proposed for a table: its columns for data/schema.yaml, its id, and what was found."""

from dataclasses import dataclass, field
from typing import Any

from churn.column import Column


@dataclass(frozen=True)
class Finding:
    """Something that a person should know: what, with the evidence, and what was done about it.

    `rank` orders findings, the gravest (1) first.
    """

    rank: int
    said: str


@dataclass
class Proposal:
    """The columns as they are proposed for data/schema.yaml, the id, and what was found."""

    columns: dict[str, Column]
    id: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def exclude(self, name: str, note: str, **changes: Any) -> None:
        """Make a column no feature, for the reason in `note`."""
        self.columns[name] = revised(self.columns[name], use=False, note=note, **changes)

    def features(self) -> list[str]:
        """The columns that are features so far."""
        return [name for name, column in self.columns.items() if column.use]

    def undecided(self) -> list[str]:
        """The columns that no trap has excluded yet, those of texts among them."""
        return [name for name, column in self.columns.items() if not column.note]


def revised(column: Column, **changes: Any) -> Column:
    """The column with some keys changed, checked like one that is read from a file."""
    return Column.model_validate(column.model_dump() | changes)
