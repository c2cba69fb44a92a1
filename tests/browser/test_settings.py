"""Setting the phone up in the page: what is wrong is said plainly, and only what works is kept."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from spech.testing.asterisk import Asterisk
from spech.testing.dialplan import PASSWORD
from spech.testing.page import Server, Telephone


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


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_small_screen(registered: Telephone, theme: str) -> None:
    """Nothing sticks out to the side, in either theme."""
    registered.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    registered.page.set_viewport_size({"width": 360, "height": 720})
    width = registered.page.evaluate("document.documentElement.scrollWidth")
    registered.picture(f"small-{theme}")
    assert width <= 360
