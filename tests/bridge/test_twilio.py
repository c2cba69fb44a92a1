"""Calls that do what an application's documents say, and Twilio's REST interface."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import wave
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection

from spech import CallFailed, open_phone
from spech.bridge.access import Access, twilio_signature
from spech.bridge.api.app import serve_api
from spech.bridge.api.metrics import BridgeMetrics
from spech.bridge.dialects.twilio import ACCOUNT_SID
from spech.bridge.link import LinkFailed
from spech.bridge.routes import Routes, compile_pattern
from spech.bridge.twilio.application import open_application
from spech.bridge.twilio.course import script_of
from spech.bridge.twilio.progress import CallProgress
from spech.bridge.twilio.requests import StatusCallback
from spech.bridge.twilio.twiml import DocumentUrl
from spech.bridge.url import WebSocketUrl
from spech.testing.audio import sine
from spech.testing.talk import hear_tone
from spech.testing.waiting import until
from spech.web.http import bind

from .applications import Server, application_server
from .bots import PORTS, Bridged, bridged, ringing, websocket_server

TOKEN = "4f7c9d3e2b1a"
STREAM = '<Connect><Stream url="{bot}"><Parameter name="order" value="7"/></Stream></Connect>'


@asynccontextmanager
async def following(
    server: Server, access: Access | None = None, **options: Any
) -> AsyncIterator[Bridged]:
    """A bridge whose incoming calls do what the path ``/voice`` of a server says."""
    async with open_application(access or Access()) as application:
        script = script_of(application, DocumentUrl(f"{server.url}/voice"))
        async with bridged(
            "ws://127.0.0.1:9/",
            routes=Routes(),
            protocol="twilio",
            script=script,
            access=access,
            **options,
        ) as bridge:
            yield bridge


class Rest:
    """Twilio's REST interface of a bridge."""

    def __init__(self, bridge: Bridged, url: str) -> None:
        self.bridge = bridge
        self._url = f"{url}/2010-04-01/Accounts/{ACCOUNT_SID}"

    async def ask(
        self, path: str, form: dict[str, Any] | None = None, token: str = TOKEN
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of an answer; a form is posted."""
        data = None if form is None else urlencode(form, doseq=True).encode()
        user = b64encode(f"{ACCOUNT_SID}:{token}".encode()).decode()
        asked = urllib.request.Request(self._url + path, data, {"Authorization": f"Basic {user}"})

        def send() -> tuple[int, dict[str, Any]]:
            try:
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)

        return await trio.to_thread.run_sync(send)


@asynccontextmanager
async def controlled(bot: str) -> AsyncIterator[Rest]:
    """A bridge to a bot, with Twilio's REST interface."""
    async with (
        open_application(Access()) as application,
        bridged(bot, protocol="twilio") as bridge,
        trio.open_nursery() as nursery,
    ):
        listener = await bind("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        serve = partial(serve_api, bridge.served, bridge.answering, BridgeMetrics(), listener)
        nursery.start_soon(partial(serve, TOKEN, application=application))
        yield Rest(bridge, url)
        nursery.cancel_scope.cancel()


class Bot:
    """A bot: notes the messages that begin its calls, and talks until it is told to close."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Any]] = []
        self.close = trio.Event()

    async def __call__(self, connection: WebSocketConnection) -> None:
        assert json.loads(await connection.get_message())["event"] == "connected"
        self.starts.append(json.loads(await connection.get_message())["start"])

        async def read() -> None:
            with suppress(ConnectionClosed):
                while True:
                    await connection.get_message()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await self.close.wait()
            nursery.cancel_scope.cancel()


def sound(frequency: float) -> bytes:
    """A WAV file with a second of a tone."""
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(sine(frequency, 8000, 1).tobytes())
    return file.getvalue()


# ---------------------------------------------------------------------- documents


async def test_a_document_connects_a_bot_and_what_follows_it_is_done(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(TOKEN)
    bot = Bot()
    async with (
        websocket_server(bot) as url,
        application_server(
            voice=STREAM.format(bot=url) + '<Redirect method="GET">next?step=2</Redirect>',
            next="<Say>Goodbye</Say><Hangup/>",
        ) as server,
        following(server, Access(signing_key_file=key, twilio=True)) as bridge,
    ):
        headers = {"X-Customer": "7"}
        async with bridge.phone.call(bridge.address, headers=headers) as call:
            await call.answered(timeout=5)
            await until(lambda: len(bot.starts) == 1)
            bot.close.set()
            with trio.fail_after(5):
                await call.ended()
            assert call.ended_by == "remote"
        line = await bridge.line()
    first, second = server.asked
    name = bridge.records[0].id
    assert first.form == {
        "AccountSid": ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "CallSid": f"CA{name}",
        "CallStatus": "ringing",
        "Direction": "inbound",
        "From": "spech",
        "To": "bot",
        "Caller": "spech",
        "Called": "bot",
        "SipHeader_X-Customer": "7",
    }
    fields = "".join(name + value for name, value in sorted(first.form.items()))
    assert first.signature == twilio_signature(TOKEN, first.url + fields)
    assert (second.method, second.form["step"]) == ("GET", "2")
    assert second.form["CallStatus"] == "in-progress"
    assert second.signature == twilio_signature(TOKEN, second.url)
    (start,) = bot.starts
    assert start["callSid"] == f"CA{name}"
    assert start["customParameters"]["order"] == "7"
    assert line.endswith("the TwiML hung up")


UNANSWERED: list[tuple[str | bytes | int, int]] = [
    ("<Reject/>", 603),
    ('<Reject reason="busy"/><Play>never.wav</Play>', 486),
    ("<Pause length='1'/><Hangup/>", 603),
    ("", 603),
    (500, 503),
    (403, 403),
    (b"no TwiML", 503),
    (b"<Response>" + b" " * 70_000 + b"</Response>", 503),
    ('<Connect><Stream url="ws://127.0.0.1:9/"/></Connect>', 503),
    ("<Redirect>voice</Redirect>", 503),
]


async def test_calls_that_a_document_does_not_answer_are_rejected() -> None:
    async with application_server() as server, following(server) as bridge:
        for number, (document, status) in enumerate(UNANSWERED, 1):
            server.answers["/voice"] = document
            async with bridge.phone.call(bridge.address) as call:
                with pytest.raises(CallFailed) as refused:
                    await call.answered(timeout=5)
            assert refused.value.status == status, document
            await until(lambda: len(bridge.records) == number)  # noqa: B023
            assert bridge.records[-1].status == status
        assert bridge.stages == ["ringing", "ended"] * len(UNANSWERED)
        reasons = [record.reason for record in bridge.records[:3]]
        assert reasons == ["rejected by the TwiML"] * 2 + ["the TwiML hung up"]
        # The last one redirects in a circle.
        assert len(server.asked) == len(UNANSWERED) - 1 + 20


async def test_without_an_application_another_bot_takes_the_call() -> None:
    bot = Bot()
    async with (
        websocket_server(bot) as url,
        application_server(voice=500) as server,
        following(server, fallbacks=[WebSocketUrl.parse(url)]) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        await until(lambda: len(bot.starts) == 1)


async def test_without_an_application_a_sound_takes_the_call(tmp_path: Path) -> None:
    file = tmp_path / "sorry.wav"
    file.write_bytes(sound(700))
    async with (
        application_server(voice=500) as server,
        following(server, fallbacks=[file]) as bridge,
    ):
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
            with call.open_audio() as port:
                await hear_tone(port, 700)
            with trio.fail_after(5):
                await call.ended()
        assert (await bridge.line()).endswith("sorry.wav was played")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("url", "form"), [("http://a..b/", {"To": "1"}), ("http://127.0.0.1:9/", {"To": "\udcff"})]
)
async def test_what_cannot_be_encoded_is_a_failure_of_the_link(
    url: str, form: dict[str, str], method: Literal["GET", "POST"]
) -> None:
    async with open_application(Access()) as application:
        with pytest.raises(LinkFailed, match="cannot be asked"):
            await application.document(DocumentUrl(url, method), form)


async def test_an_application_that_cannot_be_told_costs_one_call(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_application(Access()) as application:
        forms: list[dict[str, str]] = [{"CallSid": "CA1"}, {}]
        for form in forms:
            progress = CallProgress(StatusCallback(DocumentUrl("http://a..b/"), frozenset()))
            progress._forms_in.send_nowait(form)
            progress._forms_in.close()
            application.follow(progress)
        await application.told_all()
    assert "call CA1: its status is not told" in caplog.text
    # The form without a CallSid makes our own code fail.
    assert "is not told the rest" in caplog.text


async def test_a_caller_who_gives_up_ends_what_is_being_done() -> None:
    async with (
        application_server(voice='<Pause length="60"/>') as server,
        following(server) as bridge,
    ):
        async with bridge.phone.call(bridge.address):
            await server.request("/voice")
        await bridge.line()
    (record,) = bridge.records
    assert (record.cause, record.status) == ("hangup", 487)


async def test_a_sound_is_played_and_the_call_ends() -> None:
    async with (
        application_server(
            voice="<Play>lost.wav</Play><Play loop='2'>tone.wav</Play>", **{"tone.wav": sound(700)}
        ) as server,
        following(server) as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await call.answered(timeout=5)
        with call.open_audio() as port:
            await hear_tone(port, 700)
        with trio.fail_after(5):
            await call.ended()
        assert call.duration > 1.9
    assert (await server.request("/tone.wav")).method == "GET"


async def test_the_first_party_that_answers_is_connected() -> None:
    async with (
        application_server(after="<Hangup/>") as server,
        following(server) as bridge,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as other,
        ringing(bridge.phone) as at_alice,
        ringing(other) as at_bob,
    ):
        bob = f"sip:bob@127.0.0.1:{other.address[1]}"
        server.answers["/voice"] = (
            '<Dial answerOnBridge="true" action="after" callerId="sip:700@example.org">'
            f"<Sip>{bridge.alice}</Sip><Sip>{bob}</Sip></Dial>"
        )
        async with bridge.phone.call(bridge.address) as call:
            loser, winner = await at_alice.receive(), await at_bob.receive()
            assert winner.caller_number == "700"
            assert call.state == "ringing"
            async with winner.answer() as far:
                await loser.ended()
                await call.answered(timeout=5)
                with call.open_audio() as near_port, far.open_audio() as far_port:
                    async with trio.open_nursery() as nursery:
                        say = partial(hear_tone, near_port, 1200, say=sine(700, 8000, 1))
                        nursery.start_soon(say)
                        await hear_tone(far_port, 700, say=sine(1200, 8000, 1))
                call.send_dtmf("5")
                assert await far.collect_digits(1, timeout=5) == "5"
            with trio.fail_after(5):
                await call.ended()
    form = (await server.request("/after")).form
    assert (form["DialCallStatus"], form["DialBridged"]) == ("completed", "true")
    assert float(form["DialCallDuration"]) >= 1
    assert form["DialCallSid"].startswith("CA")


@pytest.mark.parametrize(("status", "told"), [(486, "busy"), (480, "no-answer"), (404, "failed")])
async def test_a_party_that_does_not_answer_is_told_to_the_action(status: int, told: str) -> None:
    async with (
        application_server(after="") as server,
        following(server) as bridge,
        ringing(bridge.phone) as arrivals,
    ):
        server.answers["/voice"] = f'<Dial action="after"><Sip>{bridge.alice}</Sip></Dial>'
        async with bridge.phone.call(bridge.address) as call:
            (await arrivals.receive()).reject(status)
            form = (await server.request("/after")).form
            with trio.fail_after(5):
                await call.ended()
    assert (form["DialCallStatus"], form["CallStatus"]) == (told, "in-progress")


async def test_who_may_not_be_called_is_not_dialled_and_a_caller_who_leaves_ends_the_rest() -> None:
    allowed = [compile_pattern("sip:alice@.*")]
    async with (
        application_server() as server,
        following(server, callable_targets=allowed) as bridge,
        ringing(bridge.phone) as arrivals,
    ):
        bob = bridge.alice.replace("alice", "bob")
        server.answers["/voice"] = f'<Dial action="next"><Sip>{bob}</Sip></Dial>'
        server.answers["/next"] = f"<Dial><Sip>{bridge.alice}</Sip></Dial>"
        async with bridge.phone.call(bridge.address) as call:
            await call.answered(timeout=5)
            incoming = await arrivals.receive()
            assert incoming.called == "alice"
        await incoming.ended()
        await bridge.line()
    assert (await server.request("/next")).form["DialCallStatus"] == "failed"
    assert [record.cause for record in bridge.records] == ["hangup"]


# ---------------------------------------------------------------------- REST


async def test_a_call_is_created_told_about_and_fetched() -> None:
    bot = Bot()
    events = ["initiated", "ringing", "answered", "completed"]
    async with (
        websocket_server(bot) as url,
        application_server(voice=STREAM.format(bot=url), status="") as server,
        controlled("ws://127.0.0.1:9/") as rest,
        ringing(rest.bridge.phone) as arrivals,
    ):
        status, created = await rest.ask(
            "/Calls.json",
            {
                "To": rest.bridge.alice,
                "From": "sip:700@example.org",
                "Url": f"{server.url}/voice",
                "StatusCallback": f"{server.url}/status",
                "StatusCallbackEvent": events,
            },
        )
        assert (status, created["status"], created["direction"]) == (201, "queued", "outbound-api")
        incoming = await arrivals.receive()
        assert incoming.caller_number == "700"
        async with incoming.answer():
            document = await server.request("/voice")
            await until(lambda: len(bot.starts) == 1)
        await server.request("/status", 4)
        _, fetched = await rest.ask(f"/Calls/{created['sid']}.json")
    assert document.form["CallStatus"] == "in-progress"
    assert document.form["Direction"] == "outbound-api"
    assert {one.form["CallSid"] for one in server.asked} == {created["sid"]}
    assert bot.starts[0]["callSid"] == created["sid"]
    told = [one.form for one in server.asked if one.path == "/status"]
    assert [form["CallStatus"] for form in told] == [
        "initiated",
        "ringing",
        "in-progress",
        "completed",
    ]
    assert [form["SequenceNumber"] for form in told] == ["0", "1", "2", "3"]
    assert told[-1].keys() >= {"CallDuration", "SipResponseCode", "Timestamp"}
    assert (fetched["status"], fetched["from"]) == ("completed", "700")
    assert fetched["uri"].endswith(f"{created['sid']}.json")
    assert fetched["end_time"] is not None


async def test_a_call_that_is_refused_is_told_at_its_end_until_that_is_taken() -> None:
    async with (
        application_server(status="") as server,
        controlled("ws://127.0.0.1:9/") as rest,
        ringing(rest.bridge.phone) as arrivals,
    ):
        _, created = await rest.ask(
            "/Calls.json",
            {
                "To": rest.bridge.alice,
                "From": "sip:700@example.org",
                "Twiml": "<Response><Hangup/></Response>",
                "StatusCallback": f"{server.url}/status",
            },
        )
        server.answers["/status"] = 503
        (await arrivals.receive()).reject(486)
        await server.request("/status")
        server.answers["/status"] = ""
        form = (await server.request("/status", 2)).form
        _, fetched = await rest.ask(f"/Calls/{created['sid']}.json")
    assert len(server.asked) == 2
    assert server.asked[0].form == form
    assert (form["CallStatus"], form["SipResponseCode"]) == ("busy", "486")
    assert fetched["status"] == "busy"


async def test_calls_that_end_with_the_bridge_are_told() -> None:
    async with application_server(status="") as server:
        with trio.CancelScope() as everything:
            async with (
                controlled("ws://127.0.0.1:9/") as rest,
                ringing(rest.bridge.phone) as arrivals,
            ):
                _, created = await rest.ask(
                    "/Calls.json",
                    {
                        "To": rest.bridge.alice,
                        "From": "sip:700@example.org",
                        "Twiml": '<Response><Pause length="60"/></Response>',
                        "StatusCallback": f"{server.url}/status",
                    },
                )
                async with (await arrivals.receive()).answer():
                    await until(lambda: rest.bridge.stages[-1] == "answered")
                    everything.cancel()
                    await trio.sleep_forever()
        (asked,) = server.asked
    assert (asked.form["CallSid"], asked.form["CallStatus"]) == (created["sid"], "completed")


async def test_a_call_of_a_bot_is_given_another_document_and_ended() -> None:
    bot = Bot()
    async with (
        websocket_server(bot) as url,
        application_server(
            voice="<Play loop='0'>tone.wav</Play>", **{"tone.wav": sound(700)}
        ) as server,
        controlled(url) as rest,
    ):
        async with rest.bridge.phone.call(rest.bridge.address) as call:
            await call.answered(timeout=5)
            await until(lambda: len(bot.starts) == 1)
            path = f"/Calls/{bot.starts[0]['callSid']}.json"
            status, changed = await rest.ask(path, {"Url": f"{server.url}/voice"})
            assert (status, changed["status"]) == (200, "in-progress")
            with call.open_audio() as port:
                await hear_tone(port, 700)
            twiml = f'<Response><Connect><Stream url="{url}"/></Connect></Response>'
            assert (await rest.ask(path, {"Twiml": twiml}))[0] == 200
            await until(lambda: len(bot.starts) == 2)
            assert (await rest.ask(path, {"Status": "canceled"}))[0] == 200
            assert call.state == "answered"
            assert (await rest.ask(path, {"Status": "completed"}))[0] == 200
            with trio.fail_after(5):
                await call.ended()
            assert call.ended_by == "remote"
        await rest.bridge.line()
        for form, refusal in (
            ({"Status": "completed"}, (404, 20404)),
            ({"Url": f"{server.url}/voice"}, (400, 21220)),
        ):
            status, body = await rest.ask(path, form)
            assert (status, body["code"]) == refusal


async def test_a_call_that_rings_is_cancelled_and_takes_no_document() -> None:
    async with controlled("ws://127.0.0.1:9/") as rest, ringing(rest.bridge.phone) as arrivals:
        form = {"To": rest.bridge.alice, "From": "sip:a@b.example", "Url": "http://127.0.0.1:9/"}
        _, created = await rest.ask("/Calls.json", form)
        incoming = await arrivals.receive()
        path = f"/Calls/{created['sid']}.json"
        status, body = await rest.ask(path, {"Url": "http://127.0.0.1:9/"})
        assert (status, body["code"]) == (400, 21220)
        assert (await rest.ask(path, {"Status": "canceled"}))[0] == 200
        with trio.fail_after(5):
            await incoming.ended()
        await rest.bridge.line()
        assert (await rest.ask(path))[1]["status"] == "canceled"


CREATE = {"To": "sip:a@127.0.0.1:9", "From": "sip:b@b.example", "Url": "http://127.0.0.1:9/"}


REFUSALS: list[tuple[str, dict[str, Any] | None, str, tuple[int, int]]] = [
    ("/Calls.json", CREATE, "wrong", (401, 20003)),
    ("/Calls/CA123.json", None, TOKEN, (404, 20404)),
    ("/Calls/CA123.json", {"Status": "completed"}, TOKEN, (404, 20404)),
    ("/Calls/CA123.json", {"Url": "http://127.0.0.1:9/"}, TOKEN, (404, 20404)),
    ("/Calls/CA123.json", {"Status": "busy"}, TOKEN, (400, 20001)),
    ("/Calls/CA123.json", {"Other": "7"}, TOKEN, (400, 21205)),
    ("/Calls.json", CREATE | {"To": ""}, TOKEN, (400, 21201)),
    ("/Calls.json", CREATE | {"To": "+4930123"}, TOKEN, (400, 21211)),
    ("/Calls.json", CREATE | {"To": "a" * 2000}, TOKEN, (400, 20001)),
    ("/Calls.json", CREATE | {"From": " "}, TOKEN, (400, 21213)),
    ("/Calls.json", CREATE | {"Url": ""}, TOKEN, (400, 21205)),
    ("/Calls.json", CREATE | {"Url": "Hello"}, TOKEN, (400, 21205)),
    ("/Calls.json", CREATE | {"StatusCallback": "me"}, TOKEN, (400, 21205)),
    ("/Calls.json", CREATE | {"Url": "", "Twiml": "Hello"}, TOKEN, (400, 12100)),
    ("/Calls.json", CREATE | {"Timeout": "long"}, TOKEN, (400, 20001)),
]


async def test_what_cannot_be_done_is_refused_as_twilio_does() -> None:
    async with controlled("ws://127.0.0.1:9/") as rest:
        for path, form, token, refusal in REFUSALS:
            status, body = await rest.ask(path, form, token)
            assert (status, body["code"]) == refusal, (path, form, body)
            assert (body["status"], body["more_info"]) == (
                status,
                f"https://www.twilio.com/docs/errors/{body['code']}",
            )
            assert body["message"]
        assert rest.bridge.served.ledger.records() == []
