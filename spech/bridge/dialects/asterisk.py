"""Asterisk's chan_websocket: the subprotocol ``media``, in JSON and in plain text.

https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket/ and what Asterisk 22 does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from spech.bridge.dialects.base import (
    AnswerCall,
    BotCommand,
    BotEvent,
    BotMessage,
    CallInfo,
    Clear,
    Cleared,
    DigitPressed,
    EndCall,
    MarkPassed,
    Pause,
    QueueLevel,
    Reply,
    SetMark,
    Started,
    compact,
)
from spech.errors import RemoteProtocolError

#: Frames that wait: at which Asterisk asks the bot to stop, and lets it go on.
_XOFF: Final = 900
_XON: Final = 800
_FRAME_MS: Final = 20
#: Bytes of a command; Asterisk ignores longer ones.
_LONGEST_COMMAND: Final = 128
#: Marks of our own, which no bot can set: a name is shorter.
_COMPLETED: Final = "completed " + " " * _LONGEST_COMMAND
_DIRECTIONS: Final = ("both", "in", "out")
#: Commands that are refused while the bot only listens.
_OUTWARDS: Final = (
    "START_MEDIA_BUFFERING",
    "STOP_MEDIA_BUFFERING",
    "MARK_MEDIA",
    "PAUSE_MEDIA",
    "CONTINUE_MEDIA",
)


class AsteriskDialect:
    """PCM as it is; events and commands as JSON objects.

    A part of a frame is not dropped, as it is in Asterisk outside buffering, but carried over.
    """

    rate: int | None = None
    subprotocol: str | None = "media"
    plain = False
    follows_queue = True

    def __init__(self) -> None:
        self._channel = ""
        self._frame_bytes = 320
        self._queued = 0
        self._full = False
        self._paused = False
        self._buffering = False
        self._reports_drained = False
        #: As the bot sees it: "in" is only listening, "out" only speaking.
        self._direction = "both"

    # ------------------------------------------------------------------ to the bot

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                return self._start(call)
            case DigitPressed(digit):
                return (self._event("DTMF_END", digit=digit),)
            case MarkPassed(name, played):
                return self._passed(name) if played else ()
            case Cleared():
                return self._cleared()
            case QueueLevel(queued_ms):
                return self._follow(round(queued_ms / _FRAME_MS))
            case _:
                return ()

    def _start(self, call: CallInfo) -> Iterable[BotMessage]:
        digest = hashlib.sha256(call.call_id.encode()).hexdigest()
        self._channel = f"{int(digest[:8], 16)}.{int(digest[8:12], 16)}"
        kilohertz = call.rate // 1000
        self._frame_bytes = call.frame_samples * 2
        variables = {
            "CALLERID(num)": call.caller,
            "CALLERID(name)": call.display_name or "",
            "EXTEN": call.called,
            **call.parameters,
        }
        yield self._event(
            "MEDIA_START",
            connection_id=f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}"
            f"-{digest[20:32]}",
            channel=f"WebSocket/spech/0x{digest[:12]}",
            channel_id=self._channel,
            format="slin" if kilohertz == 8 else f"slin{kilohertz}",
            optimal_frame_size=self._frame_bytes,
            ptime=_FRAME_MS,
            channel_variables=variables,
        )

    def _event(self, name: str, **values: Any) -> str:
        return compact({"event": name, "channel_id": self._channel} | values)

    def _passed(self, name: str) -> Iterable[BotMessage]:
        if name.startswith(_COMPLETED):
            return (self._completed(name.removeprefix(_COMPLETED)),)
        return (self._mark_processed(name),)

    def _completed(self, correlation: str) -> str:
        return self._event("MEDIA_BUFFERING_COMPLETED", correlation_id=correlation)

    def _mark_processed(self, correlation: str) -> str:
        return self._event("MEDIA_MARK_PROCESSED", correlation_id=correlation)

    def _cleared(self) -> Iterable[BotMessage]:
        self._buffering = False
        self._queued = 0
        if not self._full:
            return ()
        self._full = False
        return (self._event("MEDIA_XON"),)

    def _follow(self, queued: int) -> Iterable[BotMessage]:
        """The length of the queue, each 20 ms."""
        self._queued = queued
        if not self._full and queued >= _XOFF:
            self._full = True
            yield self._event("MEDIA_XOFF")
        elif self._full and queued < _XON:
            self._full = False
            yield self._event("MEDIA_XON")
        if self._reports_drained and not queued and self._direction != "in":
            self._reports_drained = False
            yield self._event("QUEUE_DRAINED")

    def _status(self) -> str:
        return self._event(
            "STATUS",
            queue_length=self._queued,
            xon_level=_XON,
            xoff_level=_XOFF,
            queue_full=self._full,
            bulk_media=self._buffering,
            media_paused=self._paused,
        )

    def _error(self, reason: str) -> Iterable[BotCommand]:
        return (Reply(self._event("ERROR", error_text=reason)),)

    def hear(self, pcm: bytes) -> BotMessage | None:
        return None if self._direction == "out" else pcm

    # ------------------------------------------------------------------ from the bot

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        if isinstance(message, bytes):
            if self._direction == "in":
                return ()
            self._queued += len(message) // self._frame_bytes
            return (message,)
        if len(message) > _LONGEST_COMMAND:
            raise RemoteProtocolError(f"a command of more than {_LONGEST_COMMAND} characters")
        value = self._parse(message)
        if value is None:
            return self._error("Unable to parse JSON command")
        name, correlation = str(value.get("command")), str(value.get("correlation_id") or "")
        if name == "SET_MEDIA_DIRECTION":
            return self._turn(value.get("direction"))
        if self._direction == "in" and name in _OUTWARDS:
            return self._error(f"{name} not supported while media direction is 'in'")
        return self._command(name, correlation)

    def _parse(self, message: str) -> dict[str, Any] | None:
        """A command with its members, None where it is no JSON."""
        try:
            value = json.loads(message)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else {}

    def _turn(self, direction: Any) -> Iterable[BotCommand]:
        """Begin or cease to carry sound to the bot, or from it."""
        if not isinstance(direction, str):
            return self._error("SET_MEDIA_DIRECTION requires a 'direction' parameter.\n")
        if direction not in _DIRECTIONS:
            return self._error(f"'{direction}' is not a valid direction for SET_MEDIA_DIRECTION.\n")
        self._direction = direction
        return ()

    def _command(self, name: str, correlation: str) -> Iterable[BotCommand]:
        match name:
            case "ANSWER":
                return (AnswerCall(),)
            case "HANGUP":
                return (EndCall(),)
            case "START_MEDIA_BUFFERING":
                self._buffering = True
                return ()
            case "STOP_MEDIA_BUFFERING":
                self._buffering = False
                return (SetMark(_COMPLETED + correlation),)
            case "MARK_MEDIA":
                return (SetMark(correlation),)
            case "FLUSH_MEDIA":
                return (Clear(),)
            case "PAUSE_MEDIA" | "CONTINUE_MEDIA":
                self._paused = name == "PAUSE_MEDIA"
                return (Pause(self._paused),)
            case "REPORT_QUEUE_DRAINED":
                self._reports_drained = True
                return ()
            case "GET_STATUS":
                return (Reply(self._status()),)
            case _:
                raise RemoteProtocolError(f"the command {name!r:.60} is unknown")


class AsteriskText(AsteriskDialect):
    """The same, with events and commands as words: ``MEDIA_MARK_PROCESSED id``.

    There are no channel variables, and only some events tell the channel.
    """

    def _event(self, name: str, **values: Any) -> str:
        values.pop("channel_variables", None)
        if name in ("STATUS", "ERROR"):
            values = {"channel_id": self._channel} | values
        elif name == "DTMF_END":
            values["channel_id"] = self._channel
        words = [name, *(f"{key}:{_word(value)}" for key, value in values.items())]
        return " ".join(words)

    def _completed(self, correlation: str) -> str:
        return f"MEDIA_BUFFERING_COMPLETED {correlation}".rstrip()

    def _mark_processed(self, correlation: str) -> str:
        return f"MEDIA_MARK_PROCESSED {correlation}".rstrip()

    def _parse(self, message: str) -> dict[str, Any] | None:
        name, _, correlation = message.strip().partition(" ")
        return {"command": name, "correlation_id": correlation.strip()}

    def _turn(self, direction: Any) -> Iterable[BotCommand]:
        return self._error("SET_MEDIA_DIRECTION only supports JSON format.\n")


def _word(value: Any) -> str:
    """A value in the text format, where truth is written as in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)
