"""Settings in the page: errors are shown in plain words, and only working settings are saved."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import expect

from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_tone
from spech.testing.dialplan import PASSWORD
from spech.testing.waiting import wait

from .heard import hear_own_tone, in_call, loudness
from .page import Server, Telephone


def test_a_wrong_password_is_reported_and_nothing_is_saved(
    telephone: Telephone, pbx: Asterisk
) -> None:
    telephone.picture("welcome")
    telephone.fill_settings(pbx.host, pbx.port, "alice", "guessed")
    telephone.picture("settings")
    telephone.save_settings()
    expect(telephone.element("settings-error")).to_contain_text("password")
    telephone.picture("settings-wrong-password")
    field = telephone.element("set-password")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("password"))
    field.press("x")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    assert telephone.page.evaluate("spech.state.accounts") == []
    telephone.element("set-password").fill(PASSWORD)
    telephone.save_settings()
    telephone.await_registrations(1)
    expect(telephone.element("number")).to_be_visible()
    telephone.picture("dialer")


def test_an_unknown_host_is_reported(telephone: Telephone) -> None:
    telephone.fill_settings("no-such-host.invalid", 5060, "alice", PASSWORD)
    telephone.save_settings()
    expect(telephone.element("settings-error")).to_contain_text("no-such-host.invalid")
    telephone.picture("settings-unknown-host")
    assert telephone.page.evaluate("spech.state.accounts") == []


def test_a_silent_server_is_reported(telephone: Telephone) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        telephone.fill_settings("127.0.0.1", silent.getsockname()[1], "alice", PASSWORD)
        telephone.save_settings()
        telephone.picture("settings-trying")
        expect(telephone.element("settings-error")).to_contain_text("answer")
    telephone.picture("settings-silent-server")
    assert telephone.page.evaluate("spech.state.accounts") == []


def test_the_account_is_restored_after_a_restart(
    registered: Telephone, start_server: Callable[[], Server], server: Server
) -> None:
    server.stop()
    again = start_server()
    registered.url = again.url
    again.sign_in(registered.page.context)
    registered.open()
    registered.await_registrations(1)
    expect(registered.element("registration")).to_contain_text("alice")


def test_codecs_are_reordered_by_dragging_and_by_keyboard(
    registered: Telephone, trace: Callable[[], str]
) -> None:
    registered.element("settings-open").click()
    rows = registered.element("codecs").locator("li")
    expect(rows.nth(0)).to_contain_text("Opus")
    expect(rows.nth(3)).to_contain_text("PCMU · 8 kHz · 64 kbit/s")
    last = rows.filter(has=registered.element("codec-PCMU"))
    start, end = last.locator(".grip").bounding_box(), rows.nth(0).bounding_box()
    assert start is not None
    assert end is not None
    mouse = registered.page.mouse
    mouse.move(start["x"] + 5, start["y"] + 5)
    mouse.down()
    mouse.move(start["x"] + 5, end["y"] + 2, steps=5)
    registered.picture("codecs-dragged")
    mouse.up()
    expect(rows.nth(0)).to_contain_text("PCMU")
    registered.page.get_by_label("Move G.711 A-law up").focus()
    registered.page.keyboard.press("Enter")
    expect(rows.nth(2)).to_contain_text("PCMA")
    registered.save_settings()
    expect(registered.element("number")).to_be_visible()
    assert registered.page.evaluate("spech.state.accounts[0].codecs") == [
        "PCMU",
        "opus",
        "PCMA",
        "G722",
    ]
    registered.dial("600")
    wait(lambda: re.search(r"RTP/AVP 0 \d+ 8 9 ", trace()) is not None)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_settings_fit_on_a_small_screen(registered: Telephone, theme: str) -> None:
    """Nothing overflows horizontally, in either theme."""
    registered.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    registered.page.set_viewport_size({"width": 360, "height": 720})
    width = registered.page.evaluate("document.documentElement.scrollWidth")
    registered.picture(f"small-{theme}")
    assert width <= 360


def test_tones_follow_the_chosen_country(telephone: Telephone) -> None:
    """Measured in the page's output: a ringback of 440 and 480 Hz in the United States."""
    telephone.element("welcome-settings").click()
    expect(telephone.element("country").locator("option:checked")).to_have_text("United States")
    rendered = telephone.page.evaluate("""async () => {
        const { readCadence, play } = await import("/sound/cadence.js");
        const table = await (await fetch("tones.json")).json();
        const render = async (cadence) => {
            const context = new OfflineAudioContext(1, 8000 * 2, 8000);
            play(context, readCadence(cadence).notes, context.destination, 0);
            return [...(await context.startRendering()).getChannelData(0)];
        };
        return {us: await render(table.us.ringback), gb: await render(table.gb.ringback),
                germany: await render(table.de.busy)};
    }""")
    us, gb, germany = (to_pcm(rendered[name]) for name in ("us", "gb", "germany"))
    for frequency in (440, 480):
        assert loudness(us, 8000, frequency) == pytest.approx(-27, abs=1)
    # 400 ms of tone and 200 ms of silence, twice, then silence.
    for start, sounds in ((0.05, True), (0.45, False), (0.65, True), (1.1, False)):
        level = loudness(gb[int(start * 8000) : int((start + 0.1) * 8000)], 8000, 425)
        assert (level > -60) is sounds
    assert_tone(germany[400:3400], 8000, 425, tolerance=2)
    telephone.element("country").select_option("de")
    telephone.reload()
    telephone.element("welcome-settings").click()
    expect(telephone.element("country").locator("option:checked")).to_have_text("Germany")


def to_pcm(samples: list[float]) -> NDArray[np.int16]:
    return np.round(np.array(samples) * 32768).astype(np.int16)


def test_encryption_is_requested_and_shown(telephone: Telephone, pbx: Asterisk) -> None:
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
