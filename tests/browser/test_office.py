"""A day at the office in the page: settings that prove themselves, rules for calls, messages."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from spech.testing.asterisk import Asterisk
from spech.testing.audio import sine, write_wav
from spech.testing.dialplan import PASSWORD

from .heard import in_call
from .page import Telephone

PASSED = re.compile("passed")

#: Counts how often the element appears.
COUNT_APPEARANCES = """(element) => {
  window.appearances = 0;
  new MutationObserver(() => (window.appearances += Number(!element.hidden))).observe(element, {
    attributeFilter: ["hidden"],
  });
}"""


def test_each_step_of_saving_is_seen_and_an_account_is_checked_up_to_the_echo(
    telephone: Telephone, pbx: Asterisk
) -> None:
    telephone.fill_settings(pbx.host, pbx.port, "alice", PASSWORD)
    telephone.save_settings()
    steps = telephone.element("steps").first
    for name in ("name", "connection", "registration", "options"):
        expect(steps.get_by_test_id(f"step-{name}")).to_have_attribute("data-state", PASSED)
    telephone.picture("settings-steps")
    expect(telephone.element("number")).to_be_visible()
    telephone.element("settings-open").click()
    telephone.element("checkup").locator("summary").click()
    telephone.element("check-echo").fill("600")
    telephone.element("settings-wait").evaluate(COUNT_APPEARANCES)
    telephone.element("check-go").click()
    echo = telephone.element("checkup").get_by_test_id("step-echo")
    expect(echo).to_have_attribute("data-state", PASSED)
    expect(echo).to_contain_text("600 returned the tone (codec: PCMU)")
    assert telephone.page.evaluate("appearances") == 0, "its own call does not lock the form"
    telephone.element("check-echo").fill("799")
    telephone.element("check-go").click()
    expect(echo).to_contain_text("Check the number.")
    telephone.picture("settings-check")


def test_rules_for_calls_are_kept_and_applied(registered: Telephone, pbx: Asterisk) -> None:
    page = registered.page
    registered.element("settings-open").click()
    registered.element("rule-forward_busy").fill("600")
    registered.element("rule-auto_answer").check()
    registered.wait_for(
        "spech.state.call_settings.forward_busy === '600' && spech.state.call_settings.auto_answer"
    )
    registered.element("rule-forward").fill("<nobody>")
    registered.element("rule-forward").press("Tab")
    expect(registered.element("rules-problem")).to_contain_text("not a number")
    expect(registered.element("rule-forward")).to_have_attribute("aria-invalid", "true")
    registered.element("rule-forward").fill("")
    registered.element("rule-forward").press("Tab")
    expect(registered.element("rules-problem")).to_be_hidden()
    registered.reload()
    registered.element("settings-open").click()
    expect(registered.element("rule-forward_busy")).to_have_value("600")
    registered.element("settings-close").click()
    registered.element("do-not-disturb").click()
    expect(registered.element("do-not-disturb")).to_have_attribute("aria-pressed", "true")
    registered.picture("do-not-disturb")
    registered.element("do-not-disturb").click()
    expect(registered.element("do-not-disturb")).to_have_attribute("aria-pressed", "false")
    pbx.originate("alice", "Milliwatt")
    in_call(registered)
    assert page.evaluate("spech.state.calls[0].audio_attached")


def test_a_number_comes_from_another_page_and_an_expensive_one_is_asked_about(
    registered: Telephone,
) -> None:
    page = registered.page
    registered.element("settings-open").click()
    registered.element("set-more").locator("summary").click()
    registered.element("set-country").select_option("DE")
    registered.element("set-number_format").select_option("national")
    registered.picture("settings-more")
    registered.save_settings()
    expect(registered.element("number")).to_be_visible()
    page.goto(f"{registered.url}?call=tel%3A%2B49-900-1234567%3Bext%3D1")
    expect(registered.element("number")).to_have_value("+499001234567")
    assert registered.calls == []
    assert page.url == registered.url
    registered.element("call").click()
    expect(registered.element("dial-error")).to_contain_text("expensive")
    registered.picture("expensive")
    assert registered.calls == []
    registered.element("call").click()
    registered.wait_for("spech.state.calls.length === 1")


def test_two_people_write_to_each_other(registered: Telephone, pbx: Asterisk) -> None:
    registered.element("settings-open").click()
    registered.element("account-add").click()
    registered.fill_settings(pbx.host, pbx.port, "bob", PASSWORD)
    registered.save_settings()
    registered.await_registrations(2)
    registered.element("chats-open").click()
    expect(registered.element("chat-start")).to_be_visible()
    registered.picture("chats-empty")
    registered.element("chat-to").fill("bob")
    registered.element("chat-start").click()
    registered.element("chat-text").fill("Grüße\u202e aus dem Büro")
    registered.element("chat-text").press("Enter")
    bubble = registered.element("bubble")
    expect(bubble).to_have_attribute("data-state", "sent")
    expect(registered.element("chat-text")).to_have_value("")
    expect(registered.element("unread")).to_have_text("1")
    registered.picture("chat-sent")
    registered.element("chats-close").click()
    rows = registered.element("chat-row")
    expect(rows).to_have_count(2)
    registered.picture("chats")
    rows.filter(has_text=re.compile("^alice")).click()
    expect(bubble).to_have_attribute("data-state", "received")
    expect(bubble).to_contain_text("Grüße aus dem Büro")
    expect(registered.element("unread")).to_be_hidden()
    registered.element("chat-text").fill("ü" * 451)
    expect(registered.element("chat-left")).to_contain_text("Too long")
    expect(registered.element("chat-send")).to_be_disabled()
    registered.element("chat-forget").click()
    registered.element("chat-forget").click()
    expect(rows).to_have_count(1)


def test_the_lamp_counts_the_messages_and_calls_the_box(telephone: Telephone) -> None:
    """A real Asterisk with a voicemail that looks at its folder each second."""
    boxes = (
        "[general]\nformat = wav\npollmailboxes = yes\npollfreq = 1\n[default]\nalice = ,Alice\n"
    )
    with Asterisk(replace={"voicemail.conf": boxes}, modules=("app_voicemail",)) as office:
        telephone.fill_settings(office.host, office.port, "alice", PASSWORD)
        telephone.element("set-more").locator("summary").click()
        telephone.element("set-voicemail").fill("600")
        telephone.save_settings()
        telephone.await_registrations(1)
        expect(telephone.element("number")).to_be_visible()
        lamp = telephone.element("voicemail")
        expect(lamp).to_have_count(0)
        inbox = office.folder / "voicemail/default/alice/INBOX"
        inbox.mkdir(parents=True)
        for number in range(2):
            write_wav(inbox / f"msg000{number}.wav", sine(700, 8000, 1), 8000)
            message = f"[message]\norigmailbox=alice\ncallerid=bob\nmsg_id={number}\nduration=1\n"
            (inbox / f"msg000{number}.txt").write_text(message)
        expect(lamp).to_have_text("2")
        expect(lamp).to_have_accessible_name("2 new voice messages. Call the mailbox")
        telephone.picture("voicemail")
        lamp.click()
        in_call(telephone)
        assert [call["remote"] for call in telephone.calls] == ["600"]
