"""Hold, transfer, conference, and the quality and story of a call."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from spech.sip.timeline import from_pcap
from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_silence, read_wav
from spech.testing.waiting import wait

from .heard import TONE, hear_own_tone, hear_tone, in_call, loudness
from .neighbour import Neighbour
from .page import Telephone

#: What 601 and 608 play, in Hz.
MILLIWATT = 1004
A4 = 440


def answered(telephone: Telephone, number: str, count: int = 1) -> None:
    telephone.dial(number)
    telephone.wait_for(
        f"spech.state.calls.filter(call => call.state === 'answered').length === {count}"
    )


def second(telephone: Telephone, number: str) -> None:
    """Place another call in addition to the current one."""
    telephone.element("new-call").click()
    answered(telephone, number, 2)


def hears(telephone: Telephone, frequency: float) -> None:
    """The tone of the active call, as soon as the page plays it."""
    in_call(telephone)
    hear_tone(telephone, frequency)


def test_hold_silences_both_sides_and_resume_brings_back(
    registered: Telephone, trace: Callable[[], str]
) -> None:
    registered.dial("600")
    in_call(registered)
    registered.element("hold").click()
    registered.status("On hold")
    wait(lambda: "a=sendonly" in trace())
    registered.wait_for("spech.speakerLevel() < -70")
    heard, _ = registered.hear(0.5)
    assert_silence(heard)
    registered.picture("on-hold")
    registered.element("hold").click()
    registered.status("In call")
    in_call(registered)
    hear_own_tone(registered)


def test_a_hold_by_the_far_end_is_shown(registered: Telephone) -> None:
    with Neighbour() as neighbour:
        answered(registered, neighbour.address)
        neighbour.hold()
        registered.status("The other side put you on hold")
        registered.picture("held")
        neighbour.resume()
        registered.status("In call")
        registered.element("hangup").click()
        registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")


def test_a_transfer_by_the_far_end_is_followed(registered: Telephone, pbx: Asterisk) -> None:
    with Neighbour() as neighbour:
        answered(registered, neighbour.address)
        neighbour.pass_on(f"sip:601@{pbx.host}:{pbx.port}")
        expect(registered.element("follow")).to_be_visible()
        registered.picture("passed-on")
        registered.element("follow").click()
        registered.wait_for("spech.state.calls.some(call => call.remote === '601')")
        expect(registered.element("remote")).to_have_text("601")
        hears(registered, MILLIWATT)
        registered.wait_for("spech.state.calls[0].state === 'ended'")
    assert pbx.channels() == 1


def test_a_second_call_holds_the_first_and_a_click_swaps_them(registered: Telephone) -> None:
    answered(registered, "601")
    hears(registered, MILLIWATT)
    second(registered, "608")
    hears(registered, A4)
    first, other = registered.calls
    assert (first["on_hold"], other["on_hold"]) == (True, False)
    registered.picture("two-calls")
    registered.element(f"line-{first['id']}").click()
    registered.wait_for("spech.state.calls.map(call => call.on_hold).join() === 'false,true'")
    hears(registered, MILLIWATT)
    registered.element("hangup").click()
    registered.element("dismiss").click()
    registered.wait_for("spech.state.calls.length === 1 && !spech.state.calls[0].on_hold")
    hears(registered, A4)


def test_a_blind_transfer(registered: Telephone, pbx: Asterisk) -> None:
    answered(registered, "607")
    wait(lambda: "2" in pbx.command("bridge show all"))
    registered.element("transfer").click()
    registered.element("transfer-number").fill("601")
    registered.picture("transfer")
    registered.element("transfer-go").click()
    registered.status("You transferred the call.")
    registered.picture("transferred")
    wait(lambda: "Milliwatt" in pbx.command("core show channels"))
    assert "PJSIP/alice" not in pbx.command("core show channels")
    pbx.command("channel request hangup all")
    pbx.await_channels(0)


def test_a_failed_transfer_keeps_the_call(registered: Telephone, pbx: Asterisk) -> None:
    registered.dial("600")
    in_call(registered)
    registered.element("transfer").click()
    registered.element("transfer-number").fill("699")
    registered.element("transfer-go").click()
    expect(registered.element("transfer-error")).to_contain_text("Your call continues.")
    registered.picture("transfer-failed")
    hear_own_tone(registered)


def test_an_attended_transfer_connects_both_far_ends(registered: Telephone, pbx: Asterisk) -> None:
    answered(registered, "607")
    second(registered, "607")
    wait(lambda: pbx.command("bridge show all").count("basic") == 2)
    registered.element("transfer").click()
    registered.picture("connect")
    registered.element("connect").click()
    registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    registered.status("You transferred the call.")
    wait(lambda: "PJSIP/alice" not in pbx.command("core show channels"))
    assert pbx.command("core show channels").count("Echo") == 2
    pbx.command("channel request hangup all")
    pbx.await_channels(0)


def test_calls_are_merged_and_split(registered: Telephone, pbx: Asterisk) -> None:
    answered(registered, "601")
    second(registered, "608")
    registered.element("merge").click()
    registered.wait_for("spech.state.calls.every(call => call.conference && !call.on_hold)")
    expect(registered.element("members").locator("li")).to_have_count(2)
    wait(lambda: min(loudness(*registered.hear(0.5), tone) for tone in (MILLIWATT, A4)) > -40)
    registered.picture("conference")
    milliwatt, a4 = (call["id"] for call in registered.calls)
    registered.element(f"member-mute-{milliwatt}").click()
    registered.wait_for("spech.state.calls[0].conference.muted")
    wait(lambda: loudness(*registered.hear(0.5), MILLIWATT) < -60)
    hears(registered, A4)
    registered.element(f"member-split-{a4}").click()
    registered.wait_for("spech.state.calls.map(call => call.on_hold).join() === 'true,false'")
    hears(registered, A4)
    assert pbx.channels() == 2


def test_a_conference_continues_when_a_member_leaves(registered: Telephone) -> None:
    answered(registered, "601")
    second(registered, "608")
    registered.element("merge").click()
    registered.wait_for("spech.state.calls.every(call => call.conference)")
    _, a4 = registered.calls
    registered.element(f"member-end-{a4['id']}").click()
    registered.wait_for("spech.state.calls.some(call => call.state === 'ended')")
    expect(registered.element("remote")).to_have_text("601")
    hears(registered, MILLIWATT)


def test_a_call_is_recorded_played_and_deleted(registered: Telephone, tmp_path: Path) -> None:
    registered.dial("601")
    in_call(registered)
    expect(registered.element("recording")).to_be_hidden()
    registered.element("record").click()
    expect(registered.element("recording")).to_contain_text("Recording0:01")
    registered.picture("recording")
    registered.reload()
    expect(registered.element("recording")).to_contain_text("Recording0:0")
    registered.element("record").click()
    expect(registered.element("recording")).to_be_hidden()
    registered.element("hangup").click()
    expect(registered.element("recordings").locator("li")).to_have_count(1)
    with registered.page.expect_download() as download:
        registered.element("recording-save").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name.endswith("-601.wav")
    recorded, rate = read_wav(path)
    # It contains the page's microphone as well.
    for frequency in (MILLIWATT, TONE):
        assert loudness(recorded[rate // 2 : rate], rate, frequency) > -40
    registered.element("recording-play").click()
    registered.wait_for("document.querySelector('audio').currentTime > 0.3")
    registered.picture("recordings")
    registered.element("recording-delete").click()
    expect(registered.element("recording-delete")).to_have_text("Delete?")
    registered.element("recording-delete").click()
    expect(registered.element("recordings")).to_be_hidden()


def test_meters_move_without_layout_and_paint(chromium: Browser, registered: Telephone) -> None:
    """Most frames only move layers. Nothing is animated, which would take 60 frames a second."""
    answered(registered, "600")
    in_call(registered)
    registered.element("record").click()
    expect(registered.element("recording")).to_be_visible()
    chromium.start_tracing(categories=["devtools.timeline"])
    registered.page.wait_for_timeout(3000)
    traced = json.loads(chromium.stop_tracing())["traceEvents"]
    events = Counter(event["name"] for event in traced)
    running = registered.page.evaluate(
        "document.getAnimations().map(({ animationName }) => animationName)"
    )
    assert running == []
    frames = events["FireAnimationFrame"]
    assert frames >= 3
    assert events["Layout"] < frames
    assert events["Paint"] < frames
    registered.element("hangup").click()


def test_the_quality_of_the_connection_is_shown(registered: Telephone) -> None:
    registered.dial("600")
    in_call(registered)
    expect(registered.element("codec-in-use")).to_have_text("G.711 µ-law · 8 kHz")
    expect(registered.element("quality")).to_contain_text("Good")
    registered.element("quality").click()
    expect(registered.element("verdict")).to_have_text("You hear each other well.")
    expect(registered.element("line-mos")).to_contain_text("4.")
    expect(registered.element("line-loss")).to_contain_text("0 %")
    expect(registered.element("page-loss")).to_contain_text("%")
    # Asterisk's RTCP has the round trip after some seconds.
    expect(registered.element("line-round_trip")).to_contain_text("ms")
    registered.picture("connection")
    # A reloaded page shows the earlier quality: six seconds of it before six have passed.
    line = registered.element("way-line").locator("path.spark-line")
    six_seconds = re.compile("^M[^L]+(L[^L]+){5}")
    expect(line).to_have_attribute("d", six_seconds)
    registered.reload()
    expect(registered.element("verdict")).to_have_text("You hear each other well.")
    expect(line).to_have_attribute("d", six_seconds, timeout=3000)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_story_of_a_call_is_shown(
    registered: Telephone, theme: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    registered.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    registered.dial("603")
    registered.status("busy")
    registered.element("story-after").click()
    steps = registered.element("story-steps")
    expect(steps).to_contain_text("You call.")
    refusal = steps.locator("li.refusal")
    expect(refusal).to_contain_text("The line is busy.")
    expect(refusal).to_contain_text("486")
    refusal.locator("summary").click()
    expect(refusal.locator("pre")).to_contain_text("SIP/2.0 486")
    registered.picture(f"story-{theme}")
    with registered.page.expect_download() as download:
        registered.element("story-capture").click()
    capture = tmp_path_factory.mktemp("capture") / download.value.suggested_filename
    download.value.save_as(capture)
    assert capture.suffix == ".pcap"
    assert from_pcap(capture.read_bytes())[0].data.startswith(b"INVITE sip:603@")
    registered.page.keyboard.press("Escape")
    expect(steps).not_to_be_visible()
    expect(registered.element("again")).to_be_visible()


def test_an_open_story_is_updated(registered: Telephone) -> None:
    registered.dial("605")
    registered.wait_for("spech.state.calls.some(call => call.state === 'answered')")
    registered.element("story-open").click()
    expect(registered.element("story-steps")).to_contain_text("They answer.")
    note = registered.element("story-steps").locator("li.note").first
    expect(note).to_be_hidden()
    registered.element("story-notes").check()
    expect(note).to_be_visible()
    expect(registered.element("story-steps")).to_contain_text("They hang up.")
