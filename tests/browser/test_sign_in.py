"""Signing in with a password and with a link, and signing out, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .conftest import SCREENSHOTS
from .page import Server

PASSWORD = "correct horse"
SIZES = {"desktop": (1280, 800), "phone": (390, 844), "small": (320, 568), "wide": (844, 390)}


@pytest.fixture
def page(
    monkeypatch: pytest.MonkeyPatch, context: BrowserContext, request: pytest.FixtureRequest
) -> Page:
    monkeypatch.setenv("SPECH_WEB_PASSWORD", PASSWORD)
    server: Server = request.getfixturevalue("server")
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_test_id("name")).to_be_focused()
    return page


def enter(page: Page, password: str, name: str = "admin") -> None:
    page.get_by_test_id("name").fill(name)
    page.get_by_test_id("password").fill(password)
    page.get_by_test_id("password").press("Enter")


def test_a_password_signs_in_and_each_window_can_sign_out(page: Page, server: Server) -> None:
    enter(page, "wrong")
    problem = page.get_by_test_id("problem")
    expect(problem).to_have_text("The name or the password is wrong.")
    expect(page.get_by_test_id("password")).to_have_attribute("aria-describedby", "problem")
    for _ in range(4):
        enter(page, "wrong")
        page.wait_for_timeout(200)
    enter(page, PASSWORD)
    expect(problem).to_contain_text("Too many attempts. Try again in 2 seconds.")
    page.wait_for_timeout(2000)
    enter(page, PASSWORD)
    expect(page.get_by_test_id("welcome-settings")).to_be_visible()
    assert page.context.cookies()[0]["httpOnly"]

    other = page.context.new_page()
    other.goto(server.url)
    other.get_by_test_id("welcome-settings").click()
    page.get_by_test_id("welcome-settings").click()
    page.get_by_test_id("end-sessions").click()
    for each in (page, other):
        expect(each.get_by_test_id("sign-in")).to_be_visible()


def test_a_link_signs_in_once(page: Page, server: Server) -> None:
    link = server.link
    page.goto("about:blank")  # Another fragment alone loads nothing.
    page.goto(link)
    expect(page.get_by_test_id("welcome-settings")).to_be_visible()
    assert page.url == server.url
    # Where someone has signed in already, a link is followed all the same; this one is used up.
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_test_id("problem")).to_contain_text("used already")
    assert "link=" not in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_window(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for language in ("en", "de"):
        page.goto(f"{page.url.split('?')[0]}?lang={language}")
        enter(page, "wrong")
        expect(page.get_by_test_id("problem")).to_be_visible()
        for name, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            expect(page.get_by_test_id("sign-in")).to_be_in_viewport(ratio=1)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            SCREENSHOTS.mkdir(exist_ok=True)
            page.screenshot(path=SCREENSHOTS / f"sign-in-{name}-{scheme}-{language}.png")


def choose_password(page: Page, old: str) -> None:
    page.get_by_test_id("password-fold").locator("summary").click()
    for typed, wrong in (("wrong", "not your password"), (old, None)):
        page.get_by_test_id("password-old").fill(typed)
        page.get_by_test_id("password-new").fill("another-word-1")
        page.get_by_test_id("password-save").click()
        if wrong is not None:
            expect(page.get_by_test_id("password-problem")).to_contain_text(wrong)
            for name, (width, height) in SIZES.items():
                page.set_viewport_size({"width": width, "height": height})
                page.get_by_test_id("password-save").scroll_into_view_if_needed()
                assert page.evaluate("document.documentElement.scrollWidth") == width
                page.screenshot(path=SCREENSHOTS / f"password-{name}.png")
    expect(page.get_by_test_id("password-done")).to_be_visible()


def test_the_administrator_adds_a_person_who_signs_in(page: Page, server: Server) -> None:
    enter(page, PASSWORD)
    page.get_by_test_id("welcome-settings").click()
    page.get_by_test_id("person").fill("anna")
    page.get_by_test_id("person-add").click()
    told = page.get_by_test_id("people-password").locator("code")
    expect(told).to_have_text(re.compile(r"\w{4}(-\w{4}){3}"))
    password = told.inner_text()
    for name, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        page.get_by_test_id("people").scroll_into_view_if_needed()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.screenshot(path=SCREENSHOTS / f"people-{name}.png")
    page.get_by_test_id("person").fill("Anna")
    page.get_by_test_id("person-add").click()
    expect(page.get_by_test_id("people-problem")).to_be_visible()

    browser = page.context.browser
    assert browser is not None
    with browser.new_context(locale="en") as context:
        annas = context.new_page()
        annas.goto(server.url)
        enter(annas, password, name="anna")
        annas.get_by_test_id("welcome-settings").click()
        expect(annas.locator(".session .name")).to_have_text("Signed in as anna")
        expect(annas.get_by_test_id("people")).to_be_hidden()
        choose_password(annas, password)
        for _ in range(2):
            page.get_by_test_id("remove-anna").click()
        expect(page.get_by_test_id("remove-anna")).to_be_hidden()
        expect(annas.get_by_test_id("sign-in")).to_be_visible()
