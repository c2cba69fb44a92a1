"""Several accounts in the page, registered at a real PBX side by side."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from spech.testing.asterisk import Asterisk
from spech.testing.dialplan import PASSWORD
from spech.testing.waiting import wait

from .heard import hear_own_tone, hear_tone, in_call
from .page import Server, Telephone


@pytest.fixture
def both(registered: Telephone, pbx: Asterisk) -> Telephone:
    """The page with the accounts of Alice and of Bob, who is called Office."""
    registered.element("settings-open").click()
    registered.element("account-add").click()
    registered.element("set-name").fill("Office")
    registered.fill_settings(pbx.host, pbx.port, "bob", PASSWORD)
    registered.save_settings()
    registered.await_registrations(2)
    expect(registered.element("number")).to_be_visible()
    return registered


def hang_up(telephone: Telephone) -> None:
    telephone.element("hangup").click()
    telephone.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    telephone.element("dismiss").click()


def test_one_account_shows_no_account_choice(registered: Telephone) -> None:
    """Neither the dialer nor the settings show accounts until there are two."""
    expect(registered.element("registration")).to_have_text("alice")
    expect(registered.element("from")).to_be_hidden()
    registered.element("settings-open").click()
    expect(registered.element("accounts")).to_be_hidden()
    expect(registered.element("set-name")).to_be_hidden()


def test_a_call_uses_the_chosen_account(both: Telephone, trace: Callable[[], str]) -> None:
    both.picture("two-accounts")
    expect(both.element("registration")).to_have_text("2 accounts")
    for account, user in (("Office", "bob"), ("alice", "alice")):
        both.element("from").select_option(label=account)
        both.dial("600")
        in_call(both)
        hear_own_tone(both)
        assert f"<sip:{user}@" in last_invite(trace())
        hang_up(both)


def last_invite(trace: str) -> str:
    """The From header of the last INVITE that the PBX received."""
    invite = trace[trace.rindex("INVITE sip:600@") :]
    return invite[invite.index("From: ") :].partition("\n")[0]


def test_the_last_used_account_is_remembered(both: Telephone) -> None:
    both.element("from").select_option(label="Office")
    both.reload()
    expect(both.element("from").locator("option:checked")).to_have_text("Office")
    both.dial("600")
    in_call(both)
    assert [call["account"] for call in both.calls] == ["a2"]


@pytest.mark.parametrize(("user", "account"), [("alice", "alice"), ("bob", "Office")])
def test_an_incoming_call_names_its_account(
    both: Telephone, pbx: Asterisk, user: str, account: str
) -> None:
    pbx.originate(user, "Milliwatt")
    expect(both.element("incoming")).to_contain_text(f"Incoming call for {account}")
    both.picture(f"incoming-{user}")
    both.element("answer").click()
    in_call(both)
    hear_tone(both, 1004)
    hang_up(both)
    pbx.await_channels(0)


def test_a_wrong_password_does_not_affect_other_accounts(both: Telephone, pbx: Asterisk) -> None:
    both.element("settings-open").click()
    both.element("account-a2").click()
    expect(both.element("set-user")).to_have_value("bob")
    both.element("set-password").fill("guessed")
    both.save_settings()
    expect(both.element("settings-error")).to_contain_text("password")
    both.picture("two-accounts-settings")
    both.await_registrations(2)
    both.element("settings-close").click()
    both.element("from").select_option(label="Office")
    both.dial("600")
    in_call(both)


def test_each_account_has_its_own_codecs(both: Telephone, trace: Callable[[], str]) -> None:
    both.element("settings-open").click()
    both.element("account-a2").click()
    for codec in ("opus", "G722", "PCMU"):
        both.element(f"codec-{codec}").uncheck()
    both.save_settings()
    expect(both.element("number")).to_be_visible()
    both.await_registrations(2)
    chosen = both.page.evaluate("spech.state.accounts.map(account => account.codecs)")
    assert chosen == [["opus", "G722", "PCMA", "PCMU"], ["PCMA"]]
    for account, formats in (("alice", " 9 8 0 "), ("Office", "RTP/AVP 8 ")):
        both.element("from").select_option(label=account)
        both.dial("600")
        in_call(both)
        trace_so_far = trace()
        invite = trace_so_far[trace_so_far.rindex("INVITE sip:600@") :]
        assert formats in invite[invite.index("m=audio") :].splitlines()[0]
        hang_up(both)


def test_removing_an_account_ends_its_calls_only(
    both: Telephone, pbx: Asterisk, trace: Callable[[], str]
) -> None:
    both.element("from").select_option(label="Office")
    both.dial("600")
    in_call(both)
    both.element("settings-open").click()
    expect(both.element("account-a2")).to_have_attribute("aria-pressed", "true")
    forget = both.element("settings-forget")
    forget.click()
    expect(forget).to_have_text("Remove it and hang up?")
    forget.click()
    both.await_registrations(1)
    pbx.await_channels(0)
    assert "BYE sip:" in trace()
    assert "alice/sip:" in pbx.command("pjsip show aor alice")
    wait(lambda: "bob/sip:" not in pbx.command("pjsip show aor bob"))
    expect(both.element("accounts")).to_be_hidden()
    expect(both.element("set-user")).to_have_value("alice")
    both.element("settings-close").click()
    both.status("account was removed")
    both.element("dismiss").click()
    both.dial("600")
    in_call(both)
    hear_own_tone(both)


def test_two_accounts_fit_on_a_small_screen_in_each_language(both: Telephone) -> None:
    """With a long name, and in a call, when space is smallest."""
    both.page.set_viewport_size({"width": 360, "height": 720})
    both.element("settings-open").click()
    both.element("account-a2").click()
    both.element("set-name").fill("The house by the lake in summer")
    both.save_settings()
    expect(both.element("number")).to_be_visible()
    both.await_registrations(2)
    both.element("from").select_option("a2")
    both.dial("600")
    in_call(both)
    for language in ("de", "es", "pt-BR", "en"):
        both.element("settings-open").click()
        both.element("language").select_option(language)
        expect(both.page.locator("html")).to_have_attribute("lang", language)
        fits(both, f"small-call-{language}")
        both.element("new-call").click()
        expect(both.element("from")).to_be_visible()
        fits(both, f"small-new-call-{language}")
        both.element("settings-open").click()
        fits(both, f"small-accounts-{language}")
        both.element("settings-close").click()


def test_the_browser_chooses_the_language(chromium: Browser, server: Server) -> None:
    for locale, language in (("es-MX", "es"), ("pt-PT", "pt-BR"), ("fr", "en")):
        with chromium.new_context(locale=locale) as context:
            server.sign_in(context)
            page = context.new_page()
            page.goto(server.url)
            expect(page.locator("html")).to_have_attribute("lang", language)
            expect(page.get_by_test_id("welcome-settings")).to_be_visible()


def fits(telephone: Telephone, picture: str) -> None:
    """Nothing overflows horizontally."""
    telephone.picture(picture)
    width = telephone.page.evaluate("document.documentElement.scrollWidth")
    assert width <= telephone.page.viewport_size["width"]
