"""Setting the phone up in the page: what is wrong is said plainly, and only what works is kept."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from spech.testing.asterisk import Asterisk
from spech.testing.dialplan import PASSWORD
from spech.testing.page import Server, Telephone
from spech.testing.waiting import wait

from .test_calls import hear_own_tone, in_call


def test_a_wrong_password_is_told_and_nothing_is_kept(telephone: Telephone, pbx: Asterisk) -> None:
    telephone.picture("welcome")
    telephone.fill_settings(pbx.host, pbx.port, "alice", "guessed")
    telephone.picture("settings")
    telephone.save_settings()
    expect(telephone.element("settings-error")).to_contain_text("password")
    telephone.picture("settings-wrong-password")
    assert telephone.page.evaluate("spech.state.account") is None
    telephone.element("set-password").fill(PASSWORD)
    telephone.save_settings()
    telephone.wait_for("spech.state.account?.registration.state === 'registered'")
    expect(telephone.element("number")).to_be_visible()
    telephone.picture("dialer")


def test_an_unknown_host_is_told(telephone: Telephone) -> None:
    telephone.fill_settings("no-such-host.invalid", 5060, "alice", PASSWORD)
    telephone.save_settings()
    expect(telephone.element("settings-error")).to_contain_text("no-such-host.invalid")
    telephone.picture("settings-unknown-host")
    assert telephone.page.evaluate("spech.state.account") is None


def test_a_silent_server_is_told(telephone: Telephone) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        telephone.fill_settings("127.0.0.1", silent.getsockname()[1], "alice", PASSWORD)
        telephone.save_settings()
        telephone.picture("settings-trying")
        expect(telephone.element("settings-error")).to_contain_text("answer")
    telephone.picture("settings-silent-server")
    assert telephone.page.evaluate("spech.state.account") is None


def test_the_account_is_there_again_after_a_restart(
    registered: Telephone, start_server: Callable[[], Server], server: Server
) -> None:
    server.stop()
    registered.url = start_server().url
    registered.open()
    registered.wait_for("spech.state.account?.registration.state === 'registered'")
    expect(registered.element("registration")).to_contain_text("alice")


def test_codecs_are_ordered_by_dragging_and_by_key(
    registered: Telephone, trace: Callable[[], str]
) -> None:
    registered.element("settings-open").click()
    rows = registered.element("codecs").locator("li")
    expect(rows.nth(0)).to_contain_text("PCMU · 8 kHz · 64 kbit/s")
    wideband = rows.filter(has=registered.element("codec-G722"))
    start, end = wideband.locator(".grip").bounding_box(), rows.nth(0).bounding_box()
    assert start is not None
    assert end is not None
    mouse = registered.page.mouse
    mouse.move(start["x"] + 5, start["y"] + 5)
    mouse.down()
    mouse.move(start["x"] + 5, end["y"] + 2, steps=5)
    registered.picture("codecs-dragged")
    mouse.up()
    expect(rows.nth(0)).to_contain_text("G.722")
    registered.element("codec-G722").check()
    registered.page.get_by_label("Prefer G.711 A-law more").focus()
    registered.page.keyboard.press("Enter")
    expect(rows.nth(1)).to_contain_text("PCMA")
    registered.save_settings()
    expect(registered.element("number")).to_be_visible()
    assert registered.page.evaluate("spech.state.account.codecs") == ["G722", "PCMA", "PCMU"]
    registered.dial("600")
    wait(lambda: "RTP/AVP 9 8 0 " in trace())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_small_screen(registered: Telephone, theme: str) -> None:
    """Nothing sticks out to the side, in either theme."""
    registered.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    registered.page.set_viewport_size({"width": 360, "height": 720})
    width = registered.page.evaluate("document.documentElement.scrollWidth")
    registered.picture(f"small-{theme}")
    assert width <= 360


def test_encryption_is_asked_for_and_shown(telephone: Telephone, pbx: Asterisk) -> None:
    telephone.fill_settings(pbx.host, pbx.port, "dtls", PASSWORD)
    telephone.element("set-encryption").select_option("required")
    telephone.save_settings()
    expect(telephone.element("number")).to_be_visible()
    telephone.dial("600")
    expect(telephone.element("encrypted")).to_be_visible()
    telephone.picture("encrypted")
    in_call(telephone)
    hear_own_tone(telephone)
    assert [call["encrypted"] for call in telephone.calls] == ["DTLS"]
