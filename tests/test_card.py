"""The model card, read as text and in a real browser."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from churn import dataset, evaluation, paths, plots
from churn.card import Card, render
from churn.column import Column
from churn.gate import Verdict
from churn.plots import Marks
from churn.registry import Tag, Version
from churn.schema import Schema
from churn.settings import Data, Evaluate, read_params

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")

SECTIONS = [
    "Scores",
    "What a retention team can do with it",
    "Calibration",
    "Segments",
    "Where it is weak",
    "Choices",
    "Data",
    "What was excluded, and why",
    "Lineage",
]
HOSTILE = "<script>alert('x')</script>\"'><img src=//evil.example/x>"
LONG = "a_column_whose_name_has_no_space_" * 5
SCHEMA = Schema(
    columns={
        "months": Column(type="integer", note="since the contract began"),
        HOSTILE: Column(type="category", note=f"note {HOSTILE}"),
        LONG: Column(type="number", nullable=True),
        "comment": Column(type="text", use=False, note="free text"),
        "row": Column(type="identifier", use=False),
    }
)


def make_card(folder: Path, **data: Any) -> Card:
    """The card of a small model that was really fitted, evaluated and drawn."""
    rng = np.random.default_rng(0)
    rows = 900
    table = pd.DataFrame(
        {
            "months": rng.integers(0, 60, rows).astype(float),
            HOSTILE: pd.Series(rng.choice([HOSTILE, "plain", "b\\c"], rows), dtype="str"),
            LONG: np.where(rng.random(rows) < 0.6, np.nan, 1.0),
        }
    )
    odds = 1.5 - 0.08 * table["months"] + (table[HOSTILE] == "plain")
    target = pd.Series((rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64))
    train, test = table[:300], table[300:]
    encode = make_column_transformer((OneHotEncoder(), [HOSTILE]), ("passthrough", ["months"]))
    fitted = FixedThresholdClassifier(make_pipeline(encode, LogisticRegression()), threshold=0.4)
    fitted.fit(train, target[:300])
    probabilities = fitted.predict_proba(test)[:, 1]
    given = read_params()
    params = given.model_copy(
        update={
            "data": Data(**{"source": "sample", "target": HOSTILE, "positive": "<b>"} | data),
            "evaluate": Evaluate(
                gate_f1=0.5,
                cost_false_negative=5,
                cost_false_positive=1,
                segments=("months", HOSTILE),
            ),
        }
    )
    labels = target[300:].to_numpy()
    found = evaluation.evaluate(params, SCHEMA, test, labels, probabilities, 0.4)
    drawn = plots.tables(params, fitted, test, labels, probabilities, found.segments)
    folder.mkdir(exist_ok=True)
    images = plots.write(drawn, Marks(0.4, 1 / 6, found.scores["roc_auc"]), folder)
    measured = dict.fromkeys(("log_loss", "brier", "roc_auc", "f1", "threshold"), 0.1234)
    tags = {
        Tag.GIT_COMMIT: "c" * 40,
        Tag.GIT_CLEAN: "true",
        Tag.RAW_SHA256: "d" * 64,
        Tag.MODEL_SHA256: "e" * 64,
    }
    return Card(
        model="churn_model",
        version=Version("7", "f" * 32, "2026-01-02T03:04:05+00:00", tags),
        run_url="http://127.0.0.1:5000/#/experiments/1/runs/" + "f" * 32,
        verdict=Verdict(True, "F1 0.7 reaches gate_f1 0.5"),
        params=params,
        choice={
            "estimator": "logistic_regression",
            "calibration": "none",
            "by": "log_loss",
            "reason": "the simpler one that is as good",
            "threshold": 0.4,
            "compared": [
                {"estimator": name, "calibration": "none"} | measured
                for name in ("logistic_regression", "random_forest")
            ],
        },
        parameters={"C": "1.0", "max_depth": "None"},
        train=dataset.split(target[:300]),
        test=dataset.split(target[300:]),
        features=dataset.features(SCHEMA, train, test),
        excluded=dataset.excluded(SCHEMA, params.data),
        evaluation=found,
        images={image.stem: image.read_bytes() for image in images},
    )


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    folder = tmp_path_factory.mktemp("card")
    return make_card(folder / "plots", id="customer", drop=["internal"])


class Reader(HTMLParser):
    """What a browser would make of the page: its elements, and its text without the style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def read(card: Card) -> Reader:
    return Reader(render(card))


# What it says


def test_every_section_is_there_in_order(card: Card, read: Reader) -> None:
    assert re.findall("<h2[^>]*>(.*?)</h2>", render(card)) == SECTIONS
    assert "churn_model version 7" in read.text
    assert "Passed its gate. F1 0.7 reaches gate_f1 0.5." in read.text


def test_the_scores_stand_with_their_intervals_and_naive_answers(card: Card, read: Reader) -> None:
    scores, intervals = card.evaluation.scores, card.evaluation.intervals
    low, high = intervals["roc_auc"]
    assert f"ROC-AUC {scores['roc_auc']:.3f} [{low:.3f}, {high:.3f}] 0.500 better" in read.text
    low, high = intervals["f1"]
    naive = scores["naive_f1_all_positive"]
    assert f"F1 {scores['f1']:.3f} [{low:.3f}, {high:.3f}] {naive:.3f} " in read.text
    assert f"{scores['cost_per_customer_nobody']:.3f} for calling nobody" in read.text


def test_every_decile_and_segment_has_its_line(card: Card, read: Reader) -> None:
    for decile in card.evaluation.deciles:
        line = f"{decile.rows} {decile.positives} {decile.lift:.2f} {decile.gain:.1%}"
        assert f"{decile.number} {decile.lowest:.3f} {line}" in read.text
    assert len(card.evaluation.segments) == 7
    for segment in card.evaluation.segments:
        assert f"{segment.group} {segment.rows:,} {segment.positive_rate:.1%}" in read.text


def test_what_was_excluded_stands_with_its_reason(read: Reader) -> None:
    said = read.text[read.text.rindex("What was excluded") :]
    assert "customer identifies a customer" in said
    assert "internal named in data.drop" in said
    assert "comment free text" in said
    assert "row a column of type identifier with `use: no`; no note" in said


def test_features_stand_with_type_note_range_and_missing_rate(card: Card, read: Reader) -> None:
    assert "months since the contract began integer 0 to 59 0.0%" in read.text
    missing = next(feature.missing for feature in card.features if feature.name == LONG)
    assert f"{LONG} number 1 to 1 {missing:.1%}" in read.text


def test_the_lineage_is_whole(read: Reader) -> None:
    for part in ("c" * 40 + " , nothing uncommitted", "d" * 64, "e" * 64, "f" * 32, "2026-01-02T"):
        assert part in read.text


def test_uncommitted_changes_are_told(card: Card) -> None:
    tags = card.version.tags | {Tag.GIT_CLEAN: "false"}
    page = render(replace(card, version=replace(card.version, tags=tags)))
    assert "with changes that were not committed" in page


def test_a_version_that_failed_says_so(card: Card) -> None:
    page = render(replace(card, verdict=Verdict(False, "F1 0.4 < gate_f1 0.5")))
    assert 'class="verdict failed"' in page
    assert "Failed its gate." in Reader(page).text


def test_without_segments_and_weaknesses_the_page_says_so(card: Card) -> None:
    found = replace(card.evaluation, segments=[], calibration=card.evaluation.calibration[:0])
    images = {name: image for name, image in card.images.items() if name != "segments"}
    plain = [feature for feature in card.features if feature.name == "months"]
    text = Reader(
        render(replace(card, evaluation=found, images=images, features=plain, excluded=[]))
    ).text
    assert "evaluate.segments in params.yaml names no column" in text
    assert "Nothing: every column of the table but the target is a feature." in text
    assert "Nothing stood out in these numbers." in text


# What it must not do


def test_hostile_names_and_values_are_text(card: Card, read: Reader) -> None:
    assert read.text.count(HOSTILE) >= 5
    tags = {tag for tag, _ in read.elements}
    assert not tags & {"script", "link", "iframe", "object", "form", "b"}
    assert {image["src"][:22] for image in read.named("img") if image["src"]} == {
        "data:image/png;base64,"
    }
    assert len(read.named("img")) == len(card.images) == 10
    assert all(image["alt"] for image in read.named("img"))
    assert not [name for _, attributes in read.elements for name in attributes if name[:2] == "on"]


def test_the_page_names_no_folder_of_this_machine(card: Card) -> None:
    page = re.sub('base64,[^"]*', "", render(card))
    assert str(paths.ROOT) not in page
    assert str(Path.home()) not in page or Path.home() == Path("/")


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def address(card: Card, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "model_card.html"
    path.write_text(render(card), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 360, "height": 740})
    yield opened
    opened.close()


@in_a_browser
def test_the_page_fits_a_phone_and_asks_nothing_of_the_network(page: Page, address: str) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(address)
    assert page.evaluate("document.scrollingElement.scrollWidth") == 360
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 10
    assert min(widths) > 0
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert not said
    # What is wider than the phone scrolls in a box that the keyboard reaches.
    outside = page.evaluate("""[...document.querySelectorAll("table")].filter(
        table => !table.closest("[role=region][tabindex='0']")).length""")
    assert outside == 0


@in_a_browser
def test_the_print_has_every_section_and_cuts_nothing(page: Page, address: str) -> None:
    page.goto(address)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 690, "height": 1000})  # A4 less its margins
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 690
    cut = page.evaluate("""[...document.querySelectorAll(".wide")].filter(
        box => getComputedStyle(box).overflowX !== "visible").length""")
    assert cut == 0
    pdf = page.pdf(format="A4", tagged=True, outline=True)
    for title in SECTIONS:
        assert f"/Title ({title})".encode() in pdf, title
