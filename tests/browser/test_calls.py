"""Calls from the page through a real PBX, checked by the sound that the page plays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, WebSocketRoute, expect

from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_silence
from spech.testing.waiting import wait

from .heard import hear_own_tone, hear_tone, in_call
from .page import Server, Telephone


def test_the_echo_is_heard_until_the_page_hangs_up(registered: Telephone, pbx: Asterisk) -> None:
    registered.dial("600")
    in_call(registered)
    hear_own_tone(registered)
    expect(registered.element("timer")).to_contain_text("0:0")
    registered.picture("in-call")
    assert pbx.channels() == 1
    registered.element("hangup").click()
    registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    registered.picture("ended")
    pbx.await_channels(0)


def test_sound_uses_the_rate_of_the_negotiated_codec(
    context: BrowserContext, registered: Telephone
) -> None:
    """The page starts with 48 kHz, the PBX selects G.711, and later another codec."""
    codecs = {"renamed": ""}

    def rename(server: WebSocketRoute) -> None:
        upstream = server.connect_to_server()

        def relay(message: str | bytes) -> None:
            state = json.loads(message)
            if state.get("type") == "state" and codecs["renamed"]:
                for call in state["state"]["calls"]:
                    call["codec"] = codecs["renamed"]
            server.send(json.dumps(state))

        upstream.on_message(relay)

    context.route_web_socket("**/control", rename)
    registered.reload()
    page = registered.page
    asked: list[int] = []

    def note_rate(frame: str | bytes) -> None:
        if isinstance(frame, str) and "ticket" in frame:
            asked.append(json.loads(frame)["rate"])

    page.on("websocket", lambda socket: socket.on("framesent", note_rate))
    assert page.evaluate("spech.state.audio.rate") == 48000
    registered.dial("600")
    in_call(registered)
    codec = registered.calls[0]["codec"]
    assert codec in ("PCMU", "PCMA")
    hear_own_tone(registered)
    assert registered.hear(0.1)[1] == 8000
    assert asked[-1] == 8000
    assert len(asked) <= 2
    codecs["renamed"] = "G722"
    registered.element("mute").click()
    registered.element("mute").click()
    wait(lambda: page.evaluate("spech.state.calls[0].codec") == "G722")
    in_call(registered)
    hear_own_tone(registered)
    assert registered.hear(0.1)[1] == 16000
    assert asked[-1] == 16000
    codecs["renamed"] = ""
    registered.element("hangup").click()
    registered.element("dismiss").click()
    # The next call starts with the last one's rate.
    asked.clear()
    registered.dial("600")
    in_call(registered)
    hear_own_tone(registered)
    registered.element("hangup").click()
    assert asked[-1] == 8000


def test_the_codec_may_be_negotiated_before_the_sound_is_ready(registered: Telephone) -> None:
    """Sound and microphone begin at another rate than expected."""

    def delay(route: Route) -> None:
        time.sleep(1)
        route.continue_()

    registered.page.route("**/speaker-worklet.js", delay)
    registered.dial("600")
    in_call(registered)
    assert registered.hear(0.1)[1] == 8000
    registered.element("hangup").click()


def test_mute_silences_the_microphone_and_unmute_restores_it(registered: Telephone) -> None:
    registered.dial("600")
    in_call(registered)
    registered.element("mute").click()
    registered.wait_for("spech.speakerLevel() < -70")
    heard, _ = registered.hear(1)
    assert_silence(heard)
    registered.picture("muted")
    registered.element("mute").click()
    registered.wait_for("spech.speakerLevel() > -40")
    hear_own_tone(registered)


def test_digits_arrive_at_the_far_end(registered: Telephone, pbx: Asterisk) -> None:
    """The PBX reads them, sends them back and hangs up."""
    registered.dial("602")
    registered.wait_for("spech.state.calls.some(call => call.state === 'answered')")
    registered.element("keypad-toggle").click()
    registered.press("1234*0")
    registered.picture("keypad")
    registered.press("#")
    registered.wait_for("spech.state.calls.some(call => call.digits_received === '1234*0')")
    registered.wait_for("spech.state.calls.every(call => call.ended?.by === 'remote')")
    assert pbx.variable("digits") == "1234*0"
    assert pbx.variable("status") == "OK"


def test_a_held_key_is_one_digit(registered: Telephone, pbx: Asterisk) -> None:
    registered.dial("602")
    registered.wait_for("spech.state.calls.some(call => call.state === 'answered')")
    registered.element("keypad-toggle").click()
    registered.element("key-7").hover()
    registered.page.mouse.down()
    expect(registered.element("key-7")).to_have_class("key pressed")
    registered.page.wait_for_timeout(800)
    registered.page.mouse.up()
    registered.page.keyboard.down("8")
    registered.page.keyboard.up("8")
    registered.press("#")
    registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    assert pbx.variable("digits") == "78"


def test_a_call_survives_a_reload(registered: Telephone, pbx: Asterisk) -> None:
    registered.dial("600")
    in_call(registered)
    (call,) = registered.calls
    registered.reload()
    assert registered.questions == 1
    in_call(registered)
    assert [again["id"] for again in registered.calls] == [call["id"]]
    hear_own_tone(registered)
    assert pbx.channels() == 1
    registered.picture("reattached")
    registered.element("hangup").click()
    pbx.await_channels(0)


def test_closing_the_page_hangs_up_after_a_while(
    registered: Telephone, pbx: Asterisk, trace: Callable[[], str]
) -> None:
    registered.dial("600")
    in_call(registered)
    registered.page.close()
    assert "BYE sip:" not in trace()
    pbx.await_channels(0)
    wait(lambda: "BYE sip:" in trace())


def test_stopping_the_server_ends_the_call(
    registered: Telephone, pbx: Asterisk, server: Server, trace: Callable[[], str]
) -> None:
    registered.dial("600")
    in_call(registered)
    assert server.stop() == 0
    pbx.await_channels(0)
    wait(lambda: "BYE sip:" in trace())


def test_an_incoming_call_rings_and_is_answered(registered: Telephone, pbx: Asterisk) -> None:
    pbx.originate("alice", "Milliwatt")
    expect(registered.element("incoming")).to_be_visible()
    registered.picture("incoming")
    registered.element("answer").click()
    in_call(registered)
    hear_tone(registered, 1004)
    registered.picture("answered")
    pbx.command("channel request hangup all")
    registered.wait_for("spech.state.calls.every(call => call.ended?.by === 'remote')")


def test_an_incoming_call_is_declined(
    registered: Telephone, pbx: Asterisk, trace: Callable[[], str]
) -> None:
    pbx.originate("alice", "Echo")
    registered.element("decline").click()
    expect(registered.element("incoming")).to_have_count(0)
    pbx.await_channels(0)
    wait(lambda: "SIP/2.0 603" in trace() or "SIP/2.0 486" in trace())


def test_a_call_that_the_caller_cancels_disappears(registered: Telephone, pbx: Asterisk) -> None:
    pbx.originate("alice", "Echo")
    expect(registered.element("incoming")).to_be_visible()
    pbx.command("channel request hangup all")
    expect(registered.element("incoming")).to_have_count(0)
    registered.picture("missed")


@pytest.mark.parametrize(
    ("number", "text", "picture"),
    [("603", "busy", "busy"), ("699", "number", "no-such-number")],
)
def test_a_refusal_is_shown_in_plain_words(
    registered: Telephone, number: str, text: str, picture: str
) -> None:
    registered.dial(number)
    registered.status(text)
    registered.picture(picture)


def test_an_outgoing_call_rings_until_it_is_cancelled(
    registered: Telephone, pbx: Asterisk, trace: Callable[[], str]
) -> None:
    registered.dial("604")
    registered.wait_for("spech.state.calls.some(call => call.state === 'ringing')")
    registered.picture("ringing")
    registered.element("hangup").click()
    pbx.await_channels(0)
    wait(lambda: "CANCEL sip:604@" in trace())


def test_early_media_is_heard(registered: Telephone) -> None:
    registered.dial("606")
    registered.wait_for("spech.state.calls.some(call => call.state === 'early')")
    registered.wait_for("spech.speakerLevel() > -40")
    hear_tone(registered, 425)
    registered.picture("early-media")


def test_a_second_page_does_not_take_over_the_call_by_itself(
    registered: Telephone, context: BrowserContext
) -> None:
    registered.dial("600")
    in_call(registered)
    other = Telephone(context.new_page(), registered.url, registered.pictures)
    other.open()
    expect(other.element("take")).to_be_visible()
    other.picture("elsewhere")
    registered.page.bring_to_front()
    hear_own_tone(registered)
