"""What each dialect says and understands, without a call."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

from spech.bridge import dialects
from spech.bridge.dialects import can_answer, find, names
from spech.bridge.dialects.base import (
    AnswerCall,
    BotCommand,
    BotEvent,
    CallInfo,
    Clear,
    Cleared,
    CommandRefused,
    ConversationEnded,
    Dialect,
    DigitPressed,
    EndCall,
    HoldCall,
    MarkPassed,
    Pause,
    QueueLevel,
    Reply,
    SendDigits,
    SetMark,
    StartEarlyMedia,
    Started,
    StartRecording,
    StopRecording,
    TransferCall,
    Transferred,
)
from spech.bridge.dialects.raw import Raw
from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.testing.audio import sine

CALL = CallInfo(
    "a84b4c76e66710",
    "+4930123",
    "700",
    "PCMU",
    8000,
    160,
    "Alice",
    {"X-Customer": "7"},
    {"language": "de"},
    "outbound",
    "0123456789abcdef0123456789abcdef",
)
PCM = sine(1000, 8000, 0.02, level=-12).tobytes()


def started(name: str) -> Dialect:
    dialect = find(name)()
    list(dialect.tell(Started(CALL)))
    return dialect


def told(dialect: Dialect, event: BotEvent) -> list[Any]:
    """The messages about an event; JSON is read."""
    found: list[Any] = []
    for message in dialect.tell(event):
        assert isinstance(message, str)
        found.append(json.loads(message) if message.startswith("{") else message)
    return found


def read(dialect: Dialect, message: object) -> list[BotCommand]:
    return list(dialect.read(message if isinstance(message, (str, bytes)) else json.dumps(message)))


def similar(pcm: bytes, other: bytes) -> bool:
    """Whether two sounds are the same but for the noise of G.711."""
    difference = np.frombuffer(pcm, "<i2").astype(int) - np.frombuffer(other, "<i2")
    return len(pcm) == len(other) and int(np.abs(difference).max()) < 600


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("audiosocket")])
def test_a_header_that_is_not_utf_8_does_not_prevent_the_start(name: str) -> None:
    """Its bytes are lone surrogates, which UTF-8 cannot carry, but JSON can as escapes."""
    call = replace(CALL, display_name="Zo\xeb", parameters={"place": "D\udcfcren"})
    for message in find(name)().tell(Started(call)):
        assert isinstance(message, str)
        if message.startswith("{"):
            json.loads(message.encode())


def test_raw_begins_with_whose_call_it_is() -> None:
    assert told(Raw(), Started(CALL)) == [
        {
            "id": "0123456789abcdef0123456789abcdef",
            "call_id": "a84b4c76e66710",
            "direction": "outbound",
            "caller": "+4930123",
            "called": "700",
            "codec": "PCMU",
            "rate": 8000,
            "frame_samples": 160,
            "display_name": "Alice",
            "headers": {"X-Customer": "7"},
            "parameters": {"language": "de"},
        }
    ]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (DigitPressed("7"), {"event": "dtmf", "digit": "7"}),
        (MarkPassed("a", True), {"event": "mark", "name": "a", "played": True}),
        (Cleared(1234.4), {"event": "cleared", "played_ms": 1234}),
        (Transferred(486, "Busy"), {"event": "transferred", "status": 486, "reason": "Busy"}),
        (
            CommandRefused(HoldCall(on=True), "no"),
            {"event": "error", "command": "hold", "reason": "no"},
        ),
        (
            ConversationEnded("hangup", 200, "OK"),
            {"event": "end", "cause": "hangup", "status": 200, "reason": "OK"},
        ),
    ],
)
def test_what_raw_tells(event: BotEvent, message: dict[str, Any]) -> None:
    assert told(started("raw"), event) == [message]


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"command": "clear"}, Clear()),
        ({"command": "mark", "name": "a"}, SetMark("a")),
        ({"command": "mark", "name": 7}, SetMark("7")),
        ({"command": "dtmf", "digits": "12#"}, SendDigits("12#")),
        ({"command": "dtmf", "digits": "1", "duration_ms": 250}, SendDigits("1", 250)),
        ({"command": "hangup"}, EndCall()),
        ({"command": "hangup", "status": 486, "reason": "Busy"}, EndCall(486, "Busy")),
        ({"command": "reject", "status": 404}, EndCall(404)),
        ({"command": "reject"}, EndCall(603)),
        ({"command": "answer"}, AnswerCall()),
        ({"command": "early_media"}, StartEarlyMedia()),
        ({"command": "transfer", "target": "601"}, TransferCall("601")),
        ({"command": "hold"}, HoldCall(on=True)),
        ({"command": "hold", "on": False}, HoldCall(on=False)),
        ({"command": "record", "name": "a.wav"}, StartRecording("a.wav")),
        (
            {"command": "record", "name": "a.wav", "stereo": True},
            StartRecording("a.wav", stereo=True),
        ),
        ({"command": "stop_recording"}, StopRecording()),
    ],
)
def test_what_raw_understands(message: dict[str, Any], command: BotCommand) -> None:
    assert read(started("raw"), message) == [command]


NONSENSE = [
    "well",
    "[]",
    "null",
    "{}",
    '{"command": "dance", "event": "dance", "type": "dance", "action": "dance"}',
    '{"command": "mark", "event": "mark", "type": "mark", "action": "notify"}',
    '{"command": "mark", "event": "mark", "mark": {"name": []}, "type": "mark"}',
    '{"command": "hangup", "status": 1e9}',
    '{"event": "media", "media": {"payload": "A"}, "command": "dtmf", "digits": {}}',
    '{"event": "media", "media": {"payload": 1}, "command": "transfer"}',
    '{"event": "playAudio", "media": {"payload": "AAAA", "contentType": "audio/mpeg"}}',
    "[" * 100_000,
    "1" * 10_000,
]


@pytest.mark.parametrize("name", [name for name in names() if not name.startswith("asterisk")])
@pytest.mark.parametrize("message", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_an_error_that_the_bridge_expects(name: str, message: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read(started(name), message)


@pytest.mark.parametrize("name", ["asterisk", "asterisk-text"])
@pytest.mark.parametrize("message", NONSENSE, ids=range(len(NONSENSE)))
def test_asterisk_answers_nonsense_or_says_nothing(name: str, message: str) -> None:
    try:
        (answer,) = read(started(name), message)
    except RemoteProtocolError:
        return
    assert isinstance(answer, Reply)
    assert "Unable to parse JSON command" in str(answer.message)


@pytest.mark.parametrize("name", ["twilio", "telnyx", "plivo", "exotel"])
def test_sound_in_json_comes_back_as_it_went(name: str) -> None:
    dialect = started(name)
    message = json.loads(dialect.hear(PCM) or "")
    assert message["event"] == "media"
    coded = b64decode(message["media"]["payload"])
    assert len(coded) == (320 if name == "exotel" else 160)
    play: dict[str, Any] = {"event": "media", "media": {"payload": b64encode(coded).decode()}}
    if name == "plivo":
        play["event"] = "playAudio"
        play["media"] |= {"contentType": "audio/x-mulaw", "sampleRate": 8000}
    (sound,) = read(dialect, play)
    assert isinstance(sound, bytes)
    assert similar(sound, PCM)


@pytest.mark.parametrize("name", ["raw", "asterisk", "asterisk-text", "vonage", "jambonz"])
def test_sound_in_binary_messages_is_pcm(name: str) -> None:
    dialect = started(name)
    assert dialect.hear(PCM) == PCM
    assert read(dialect, PCM + b"\1") == [PCM + b"\1"]


def test_twilio() -> None:
    dialect = find("twilio")()
    connected, start = told(dialect, Started(CALL))
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    details = start["start"]
    assert (start["event"], start["sequenceNumber"]) == ("start", "1")
    assert start["streamSid"] == details["streamSid"]
    for key, prefix in (("streamSid", "MZ"), ("callSid", "CA"), ("accountSid", "AC")):
        assert details[key].startswith(prefix)
        assert len(bytes.fromhex(details[key][2:])) == 16
    assert details["tracks"] == ["inbound"]
    form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    assert details["mediaFormat"] == form
    assert details["customParameters"] == {
        "from_number": "+4930123",
        "to_number": "700",
        "language": "de",
    }
    media = [json.loads(dialect.hear(PCM) or "")["media"] for _ in range(3)]
    assert [one["timestamp"] for one in media] == ["0", "20", "40"]
    assert [one["chunk"] for one in media] == ["1", "2", "3"]
    (dtmf,) = told(dialect, DigitPressed("7"))
    assert dtmf["dtmf"] == {"track": "inbound_track", "digit": "7"}
    assert dtmf["sequenceNumber"] == "5"
    for played in (True, False):  # `clear` answers the marks that it drops.
        (mark,) = told(dialect, MarkPassed("m", played))
        assert mark["mark"] == {"name": "m"}
        assert mark["streamSid"] == start["streamSid"]
    (stop,) = told(dialect, ConversationEnded("hangup", 200, "OK"))
    assert stop["stop"] == {"accountSid": details["accountSid"], "callSid": details["callSid"]}
    assert read(dialect, {"event": "mark", "mark": {"name": "m"}}) == [SetMark("m")]
    assert read(dialect, {"event": "clear"}) == [Clear()]


def test_asterisk_in_json() -> None:
    """The messages of Asterisk 22.10's chan_websocket, apart from identifiers."""
    dialect = find("asterisk")()
    assert dialect.subprotocol == "media"
    (start,) = told(dialect, Started(CALL))
    assert start["event"] == "MEDIA_START"
    assert (start["format"], start["optimal_frame_size"], start["ptime"]) == ("slin", 320, 20)
    assert start["channel_variables"]["CALLERID(num)"] == "+4930123"
    assert start["channel_variables"]["language"] == "de"
    channel = start["channel_id"]
    known = {"channel_id": channel}
    assert told(dialect, DigitPressed("7")) == [{"event": "DTMF_END", **known, "digit": "7"}]
    assert read(dialect, {"command": "MARK_MEDIA", "correlation_id": "one"}) == [SetMark("one")]
    processed = {"event": "MEDIA_MARK_PROCESSED", **known, "correlation_id": "one"}
    assert told(dialect, MarkPassed("one", True)) == [processed]
    assert told(dialect, MarkPassed("one", False)) == []

    assert read(dialect, {"command": "START_MEDIA_BUFFERING"}) == []
    assert read(dialect, bytes(2000)) == [bytes(2000)]
    (answer,) = read(dialect, {"command": "GET_STATUS"})
    assert isinstance(answer, Reply)
    assert json.loads(answer.message) == {
        "event": "STATUS",
        **known,
        "queue_length": 6,
        "xon_level": 800,
        "xoff_level": 900,
        "queue_full": False,
        "bulk_media": True,
        "media_paused": False,
    }
    (mark,) = read(dialect, {"command": "STOP_MEDIA_BUFFERING", "correlation_id": "buf"})
    assert isinstance(mark, SetMark)
    completed = {"event": "MEDIA_BUFFERING_COMPLETED", **known, "correlation_id": "buf"}
    assert told(dialect, MarkPassed(mark.name, True)) == [completed]

    assert read(dialect, {"command": "PAUSE_MEDIA"}) == [Pause(True)]
    assert read(dialect, {"command": "CONTINUE_MEDIA"}) == [Pause(False)]
    assert read(dialect, {"command": "ANSWER"}) == [AnswerCall()]
    assert read(dialect, {"command": "HANGUP"}) == [EndCall()]
    assert read(dialect, {"command": "FLUSH_MEDIA"}) == [Clear()]
    with pytest.raises(RemoteProtocolError):
        read(dialect, {"command": "GET_STATUS", "correlation_id": "x" * 128})


def test_asterisk_tells_when_too_much_waits() -> None:
    dialect = started("asterisk")

    def at(frames: int) -> list[str]:
        return [message["event"] for message in told(dialect, QueueLevel(frames * 20.0))]

    assert [at(899), at(900), at(950), at(800), at(799), at(0)] == [
        [],
        ["MEDIA_XOFF"],
        [],
        [],
        ["MEDIA_XON"],
        [],
    ]
    assert read(dialect, {"command": "REPORT_QUEUE_DRAINED"}) == []
    assert [at(10), at(0), at(10), at(0)] == [[], ["QUEUE_DRAINED"], [], []]
    assert at(950) == ["MEDIA_XOFF"]
    assert [message["event"] for message in told(dialect, Cleared(20.0))] == ["MEDIA_XON"]
    assert told(dialect, Cleared(20.0)) == []


def test_asterisk_turns_sound_off_in_each_direction() -> None:
    dialect = started("asterisk")
    for direction, heard, played in (("in", PCM, []), ("out", None, [PCM]), ("both", PCM, [PCM])):
        turn = json.dumps({"command": "SET_MEDIA_DIRECTION", "direction": direction})
        assert list(dialect.read(turn)) == []
        assert dialect.hear(PCM) == heard
        assert list(dialect.read(PCM)) == played


def test_asterisk_in_text() -> None:
    dialect = find("asterisk-text")()
    (start,) = told(dialect, Started(CALL))
    name, *values = start.split(" ")
    assert name == "MEDIA_START"
    keys = [value.partition(":")[0] for value in values]
    assert keys == [
        "connection_id",
        "channel",
        "channel_id",
        "format",
        "optimal_frame_size",
        "ptime",
    ]
    channel = values[2].partition(":")[2]
    assert told(dialect, DigitPressed("7")) == [f"DTMF_END digit:7 channel_id:{channel}"]
    assert read(dialect, "MARK_MEDIA one") == [SetMark("one")]
    assert told(dialect, MarkPassed("one", True)) == ["MEDIA_MARK_PROCESSED one"]
    assert told(dialect, MarkPassed("", True)) == ["MEDIA_MARK_PROCESSED"]
    assert told(dialect, QueueLevel(18_000)) == ["MEDIA_XOFF"]
    (answer,) = read(dialect, "GET_STATUS")
    assert isinstance(answer, Reply)
    assert answer.message == (
        f"STATUS channel_id:{channel} queue_length:900 xon_level:800 xoff_level:900 "
        "queue_full:true bulk_media:false media_paused:false"
    )


def test_telnyx() -> None:
    dialect = find("telnyx")()
    connected, start = told(dialect, Started(CALL))
    assert connected["event"] == "connected"
    assert start["stream_id"]
    assert start["start"]["call_control_id"] == "v3:a84b4c76e66710"
    assert start["start"]["media_format"] == {
        "encoding": "PCMU",
        "sample_rate": 8000,
        "channels": 1,
    }
    assert (start["start"]["from"], start["start"]["to"]) == ("+4930123", "700")
    assert told(dialect, DigitPressed("7"))[0]["dtmf"] == {"digit": "7"}
    assert read(dialect, {"event": "clear"}) == [Clear()]


def test_plivo() -> None:
    dialect = find("plivo")()
    (start,) = told(dialect, Started(CALL))
    assert start["start"]["callId"]
    assert start["start"]["streamId"] == start["streamId"]
    assert start["extra_headers"] == "from=+4930123;to=700;language=de"
    assert read(dialect, {"event": "checkpoint", "name": "c"}) == [SetMark("c")]
    assert told(dialect, MarkPassed("c", True))[0]["name"] == "c"
    assert told(dialect, MarkPassed("c", False)) == []
    assert read(dialect, {"event": "clearAudio"}) == [Clear()]
    assert told(dialect, Cleared(20.0))[0]["event"] == "clearedAudio"
    linear = {"contentType": "audio/x-l16", "sampleRate": 8000, "payload": "AQI="}
    assert read(dialect, {"event": "playAudio", "media": linear}) == [b"\1\2"]


def test_exotel() -> None:
    dialect = find("exotel")()
    connected, start = told(dialect, Started(CALL))
    assert connected == {"event": "connected"}
    assert start["start"]["stream_sid"] == start["stream_sid"]
    assert {"call_sid", "account_sid", "from", "to"} <= set(start["start"])
    assert start["start"]["custom_parameters"] == {"language": "de"}
    assert told(dialect, ConversationEnded("hangup", 200, "OK"))[0]["stop"]["reason"] == "callended"
    assert told(dialect, MarkPassed("m", True))[0]["mark"] == {"name": "m"}


def test_vonage() -> None:
    dialect = find("vonage")()
    assert dialect.rate == 16000
    (connected,) = told(dialect, Started(CALL))
    assert connected == {
        "event": "websocket:connected",
        "content-type": "audio/l16;rate=8000",
        "language": "de",
    }
    assert told(dialect, DigitPressed("7"))[0]["digit"] == "7"
    (mark,) = read(dialect, {"action": "notify", "payload": {"anything": [1]}})
    assert isinstance(mark, SetMark)
    assert told(dialect, MarkPassed(mark.name, True)) == [
        {"event": "websocket:notify", "payload": {"anything": [1]}}
    ]
    assert read(dialect, {"action": "clear"}) == [Clear()]
    assert told(dialect, Cleared(20.0)) == [{"event": "websocket:cleared"}]


def test_jambonz() -> None:
    dialect = find("jambonz")()
    assert dialect.subprotocol == "audio.jambonz.org"
    (introduction,) = told(dialect, Started(CALL))
    assert (introduction["sampleRate"], introduction["mixType"]) == (8000, "mono")
    assert (introduction["from"], introduction["language"]) == ("+4930123", "de")
    assert told(dialect, DigitPressed("7")) == [{"event": "dtmf", "dtmf": "7", "duration": "100"}]
    assert read(dialect, {"type": "mark", "data": {"name": "m"}}) == [SetMark("m")]
    for played, text in ((True, "playout"), (False, "cleared")):
        (mark,) = told(dialect, MarkPassed("m", played))
        assert mark == {"type": "mark", "data": {"name": "m", "event": text}}
    assert read(dialect, {"type": "killAudio"}) == [Clear()]
    assert read(dialect, {"type": "disconnect"}) == [EndCall()]


def test_another_package_brings_a_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    brought = [
        EntryPoint("mine", "spech.bridge.dialects.raw:Raw", dialects.DIALECT_ENTRY_POINTS),
        EntryPoint(
            "broken", "spech.bridge.dialects.nothing:Nothing", dialects.DIALECT_ENTRY_POINTS
        ),
    ]

    def found(group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == dialects.DIALECT_ENTRY_POINTS
        return [entry for entry in brought if name in (None, entry.name)]

    monkeypatch.setattr(dialects, "entry_points", found)
    assert names()[-2:] == ("mine", "broken")
    assert isinstance(find("mine")(), Raw)
    assert can_answer("mine")
    with pytest.raises(LocalProtocolError, match="cannot be loaded"):
        find("broken")
    with pytest.raises(LocalProtocolError, match="known are raw, twilio"):
        find("nothing")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raw", {"command": "answer"}),
        ("asterisk", {"command": "ANSWER"}),
        ("asterisk-text", "ANSWER"),
    ],
)
def test_a_bot_that_can_answer_has_a_message_for_it(name: str, message: object) -> None:
    assert can_answer(name)
    assert read(started(name), message) == [AnswerCall()]


def test_what_a_bot_dials_in_a_broken_message_is_not_told() -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        read(Raw(), '{"command": "dtmf", "digits": 1234')
    assert str(refused.value) == """not JSON: '{"command": "dtmf", "digits": xxxx'"""
