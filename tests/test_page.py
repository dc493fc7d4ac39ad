"""The page at /, in a real browser."""

import shutil
from collections.abc import Callable, Iterator

import pytest
from conftest import Api
from playwright.sync_api import Page, expect, sync_playwright
from project import Project

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser.new_page()
        browser.close()


def test_a_person_fills_in_a_customer_and_reads_the_answer(
    trained: Project, serve: Callable[..., Api], page: Page
) -> None:
    trained.do("python", "src/promote.py", "--version", "2")
    api = serve(trained)
    api.wait_for_version("2")
    page.goto(str(api.client.base_url))
    expect(page.locator("#served")).to_contain_text("churn_model version 2")

    page.get_by_label("tenure_months").fill("1")
    page.get_by_label("region").fill("NA")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answer")).to_contain_text("%")
    expect(page.locator("#answer")).to_contain_text("version 2")

    page.get_by_label("tenure_months").fill("many")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("label", has_text="tenure_months")).to_contain_text("should be a number")

    trained.do("python", "src/promote.py", "--version", "1")
    expect(page.locator("#served")).to_contain_text("churn_model version 1", timeout=30_000)


def test_a_person_shows_a_key_where_one_is_wanted(
    trained: Project, serve: Callable[..., Api], page: Page
) -> None:
    trained.do("python", "src/promote.py", "--version", "2")
    api = serve(trained, API_KEYS="me:the-key-of-a-person")
    page.goto(str(api.client.base_url))
    expect(page.locator("#served")).to_contain_text("it wants a key")
    page.get_by_label("API key").fill("the-key-of-nobody")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#served")).to_contain_text("it does not know this key")
    page.get_by_label("API key").fill("the-key-of-a-person")
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#served")).to_contain_text("churn_model version 2")
    expect(page.get_by_label("API key")).not_to_be_visible()
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answer")).to_contain_text("%")
