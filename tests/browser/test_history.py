"""The history of calls in the page: missed calls, redial, search, story, files."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from spech.testing.asterisk import Asterisk
from spech.testing.waiting import wait

from .heard import in_call
from .page import Telephone


def talk_and_leave(telephone: Telephone) -> None:
    """Hang up the call that is up, and return to the keypad."""
    in_call(telephone)
    telephone.element("hangup").click()
    telephone.element("dismiss").click()
    expect(telephone.element("number")).to_be_visible()


def test_every_call_is_in_the_history_with_or_without_a_page(
    registered: Telephone, pbx: Asterisk
) -> None:
    page = registered.page
    registered.dial("603")
    registered.status("busy")
    registered.element("dismiss").click()
    registered.dial("600")
    talk_and_leave(registered)
    recent = registered.element("recent").locator("li")
    expect(recent).to_have_count(2)
    expect(recent.first).to_contain_text("600")
    expect(recent.last).to_contain_text("Busy")

    # A call comes and goes while no page is open.
    page.goto(f"{registered.url}favicon.svg")
    pbx.originate("alice", "Milliwatt")
    # A channel is there before its INVITE is sent.
    wait(lambda: "Ringing" in pbx.command("core show channels concise"))
    pbx.command("channel request hangup all")
    pbx.await_channels(0)
    # It counts until it is looked at: here the list is below the fold.
    page.set_viewport_size({"width": 360, "height": 560})
    registered.open()
    expect(page).to_have_title("(1) Spech")
    expect(registered.element("missed")).to_have_text("1")
    expect(recent.first).to_contain_text("Missed")
    registered.picture("missed")
    page.set_viewport_size({"width": 1100, "height": 820})
    page.mouse.move(300, 300)
    expect(registered.element("missed")).to_be_hidden()
    expect(page).to_have_title("Spech")

    # One tap calls again.
    recent.filter(has_text="600").get_by_test_id("recent-call").click()
    talk_and_leave(registered)

    registered.element("history-open").click()
    calls = registered.element("past-call")
    expect(calls).to_have_count(4)
    registered.element("history-missed").check()
    expect(calls).to_have_count(1)
    registered.element("history-missed").uncheck()
    expect(calls).to_have_count(4)
    registered.element("history-search").fill("603")
    expect(calls).to_have_count(1)
    calls.click()
    registered.element("past-add").click()
    registered.element("contact-name").fill("Switchboard")
    registered.element("contact-save").click()
    expect(registered.element("contact")).to_contain_text("Switchboard")
    registered.element("history-open").click()
    expect(calls).to_have_count(4)
    registered.element("history-search").fill("switchb")
    expect(calls).to_have_count(1)
    calls.click()
    expect(registered.element("past-details")).to_contain_text("The line is busy.")
    registered.element("past-story").click()
    expect(registered.element("story-steps").locator("li").first).to_contain_text("You call.")
    registered.element("story-close").click()
    registered.element("past-forget").click()
    expect(registered.element("history-nothing")).to_be_visible()
    registered.element("history-search").fill("")
    expect(calls).to_have_count(3)
    with page.expect_download() as download:
        registered.element("history-csv").click()
    table = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert len(table) == 4
    assert table[0].startswith("began,")
    registered.element("history-clear").click()
    registered.element("history-clear").click()
    expect(calls).to_have_count(0)
    page.keyboard.press("Escape")
    expect(registered.element("number")).to_be_visible()
