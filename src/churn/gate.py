"""The gate: whether a version may be promoted, and why."""

from dataclasses import dataclass

PASSED, FAILED = "passed", "failed"


@dataclass(frozen=True)
class Verdict:
    """The gate's decision, with every reason in one line of words and numbers."""

    passed: bool
    reason: str

    @property
    def word(self) -> str:
        return PASSED if self.passed else FAILED


def decide(
    scores: dict[str, float],
    intervals: dict[str, tuple[float, float]],
    naive: dict[str, float],
    gate_f1: float,
) -> Verdict:
    """Pass where F1 on the test split (`scores`, `intervals`, and the F1 of each `naive` answer)
    reaches `gate_f1` and beats every naive answer.

    "Beats" means that the 95 % interval of the difference, taken on the same resampled rows, lies
    above 0: a model that calls everybody positive differs from the best naive answer by nothing,
    and one that does nearly so by nothing that the test split can tell.
    """
    f1 = scores["f1"]
    low, high = intervals["f1"]
    best = max(naive, key=lambda answer: naive[answer])
    gain_low, gain_high = intervals["f1_over_naive"]
    auc_low, auc_high = intervals["roc_auc"]

    shown = f"F1 {f1:.3f} [{low:.3f}, {high:.3f}]"
    found = [
        (f1 >= gate_f1, f"{shown} reaches gate_f1 {gate_f1:g}", f"{shown} < gate_f1 {gate_f1:g}"),
        (
            gain_low > 0,
            f"beats the best naive answer ({best}: {naive[best]:.3f})"
            f" by {f1 - naive[best]:.3f} [{gain_low:.3f}, {gain_high:.3f}]",
            f"does not beat the best naive answer ({best}: {naive[best]:.3f}): the difference is"
            f" {f1 - naive[best]:.3f} [{gain_low:.3f}, {gain_high:.3f}]",
        ),
    ]
    passed = all(holds for holds, _, _ in found)
    clauses = [good if holds else bad for holds, good, bad in found if passed or not holds]
    auc = f"ROC-AUC {scores['roc_auc']:.3f} [{auc_low:.3f}, {auc_high:.3f}]"
    return Verdict(passed, "; ".join([*clauses, auc]))
