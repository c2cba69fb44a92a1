"""One call and one bot: sound, events and commands between them, until either ends."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

import trio

from spech.bridge.audiosocket import AudioSocketLink
from spech.bridge.barge_in import BargeInWatch
from spech.bridge.dialects.base import (
    AnswerCall,
    BotCommand,
    BotEvent,
    BotMessage,
    CallAnswered,
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
    Started,
    StartRecording,
    StopRecording,
    TransferCall,
    Transferred,
)
from spech.bridge.link import BotLink, LinkFailed
from spech.bridge.recordings import CallRecorder
from spech.bridge.records import ConversationOutcome
from spech.errors import CallEnded, CallFailed, LocalProtocolError, RemoteProtocolError, SpechError
from spech.media.keypad import GAP_MS
from spech.media.playback import Mark, Spawn
from spech.media.port import AudioPort
from spech.phone.call import Call
from spech.scopes import open_scope

_log: Final = logging.getLogger(__name__)

#: Marks that wait; further ones are refused.
_MOST_MARKS: Final = 1000
#: Seconds of digits that wait; further ones are refused.
_MOST_DIGITS: Final = 60.0
#: Seconds until the target of an attended transfer has to answer.
_ANSWER_SECONDS: Final = 60.0
#: Messages of sound that may wait in the kernel for a bot that does not read.
_MESSAGES_UNSENT: Final = 4

PlaceCall = Callable[[str], AbstractAsyncContextManager[Call]]
"""Calls a number or a SIP URI."""


class Conversation:
    """Carries one call to and from one bot.

    Args:
        call: the call.
        port: its sound, at the rate of the dialect.
        link: the WebSocket.
        dialect: what the bot speaks.
        info: what the bot is told about the call.
        place: calls the target of an attended transfer.
        check_target: raises :class:`CallRefused <spech.bridge.orders.CallRefused>` for what the bot
            may not transfer the caller to.
        recorder: records the call where the bot asks for it.
        on_barge_in: takes what a :class:`BargeInWatch` measures; None not to measure.
    """

    def __init__(
        self,
        call: Call,
        port: AudioPort,
        link: BotLink | AudioSocketLink,
        dialect: Dialect,
        info: CallInfo,
        place: PlaceCall,
        check_target: Callable[[str], None],
        recorder: CallRecorder,
        on_barge_in: Callable[[float], None] | None = None,
    ) -> None:
        self._call = call
        self._port = port
        self._link = link
        self._dialect = dialect
        self._info = info
        self._place = place
        self._check_target = check_target
        self._recorder = recorder
        self._playback = port.play()
        self._barge_in = on_barge_in and BargeInWatch(call, self._playback, on_barge_in)
        self._marks: deque[tuple[str, Mark]] = deque()
        #: The transfer that is tried, and the one to try where it fails.
        self._transfers: deque[TransferCall] = deque()
        self._transferring = False
        #: Starts a task of the conversation, None while it does not run.
        self._spawn: Spawn | None = None
        self._digits_end = 0.0
        self._end: ConversationEnded | None = None
        self._farewell: tuple[int | None, str | None] | None = None
        self._scope = trio.CancelScope()
        self._warned = False

    async def run(self) -> ConversationOutcome:
        """Until either side ends. The bot is told why; the call itself is not ended, except where
        the bot asks for that."""
        failed = False
        plain = self._dialect.plain
        if not self._link.used:
            self._tell(Started(self._info))
        elif self._call.state == "answered":
            self._tell(CallAnswered(self._info.codec))
        try:
            with (
                self._link.reading(
                    self._playback.write if plain else self._receive,
                    self._receive,
                    _MESSAGES_UNSENT * 2 * self._port.frame_samples,
                ),
                self._port.driven(
                    self._poll if self._dialect.follows_queue else self._link.poll,
                    self._link.send_pcm if plain else self._hear,
                ),
            ):
                async with open_scope() as nursery:
                    self._scope = nursery.cancel_scope
                    self._spawn = nursery.start_soon
                    nursery.start_soon(self._follow_digits)
                    nursery.start_soon(self._follow_call)
                    if self._barge_in is not None:
                        nursery.start_soon(self._barge_in.run)
                    try:
                        await self._link.run()
                    finally:
                        self._spawn = None
                    self._finish(ConversationEnded("bot", 200, "the WebSocket closed"))
        except LinkFailed as error:
            failed = True
            self._finish(ConversationEnded("error", error.status, str(error)))
        finally:
            self._finish(
                ConversationEnded("shutdown", 503, "the bridge ends")
            )  # It was cancelled from above.
            self._playback.flush()
            self._playback.end()
            assert self._end is not None
            self._tell(self._end)
            if self._farewell is not None:
                self._call.hang_up(*self._farewell)
        return ConversationOutcome(self._end, failed, self._link.dropped, self._playback.dropped_ms)

    def _finish(self, end: ConversationEnded) -> None:
        """End the conversation. The first reason is the one that counts."""
        if self._end is None:
            self._end = end
            self._scope.cancel()

    # ------------------------------------------------------------------ to the bot

    def _tell(self, event: BotEvent) -> None:
        self._link.send(self._dialect.tell(event))

    def _hear(self, pcm: bytes) -> None:
        message = self._dialect.hear(pcm)
        if message is not None:
            self._link.send_sound(message)

    def _poll(self) -> None:
        self._link.poll()
        self._tell(QueueLevel(self._playback.queued_ms))

    async def _follow_call(self) -> None:
        call = self._call
        await call.ended()
        if self._transferring and (call.ended_by == "local" or call.transfer_accepted):
            self._finish(ConversationEnded("transfer", 200, "OK"))
        else:
            self._finish(ConversationEnded("hangup", call.status or 200, call.reason))

    async def _follow_digits(self) -> None:
        with suppress(CallEnded):
            while True:
                self._tell(DigitPressed(await self._call.collect_digits(1, terminator=None)))

    async def _follow_marks(self) -> None:
        while self._marks:
            name, place = self._marks[0]
            played = await place.played()
            self._marks.popleft()
            self._tell(MarkPassed(name, played))

    async def _follow_transfers(self) -> None:
        while self._transfers:
            transfer = self._transfers[0]
            self._transferring = True
            try:
                await self._connect(transfer)
            except CallFailed as error:
                self._transferring = False
                self._tell(Transferred(error.status, error.reason))
            except SpechError as error:
                self._transferring = False
                self._tell(CommandRefused(transfer, str(error)))
            else:
                self._tell(Transferred(200, "OK"))
            self._transfers.popleft()

    async def _connect(self, transfer: TransferCall) -> None:
        """Transfer the call.

        Raises:
            CallRefused: the bot may not transfer to that target; the call goes on.
            SpechError: as of :meth:`Call.transfer`; the call goes on.
        """
        self._check_target(transfer.target)
        if not transfer.attended:
            await self._call.transfer(transfer.target)
            return
        async with self._place(transfer.target) as other:
            await other.answered(timeout=_ANSWER_SECONDS)
            await self._call.transfer_to(other)

    # ------------------------------------------------------------------ from the bot

    def _receive(self, message: BotMessage) -> None:
        try:
            for command in self._dialect.read(message):
                self._carry_out(command)
        except RemoteProtocolError as error:
            if not self._warned:
                self._warned = True
                _log.warning("call %s: the bot sends nonsense: %s", self._info.call_id, error)

    def _carry_out(self, command: BotCommand) -> None:
        if isinstance(command, bytes):
            self._playback.write(command)
            return
        try:
            self._do(command)
        except (SpechError, ValueError) as error:
            self._tell(CommandRefused(command, str(error)))

    def _do(self, command: BotCommand) -> None:
        match command:
            case Clear():
                if self._barge_in is not None:
                    self._barge_in.cleared()
                self._tell(Cleared(self._playback.flush()))
            case SetMark(name):
                self._mark(name)
            case Pause(True):
                self._playback.pause()
            case Pause(False):
                self._playback.resume()
            case SendDigits(digits, duration_ms):
                self._send_digits(digits, duration_ms)
            case AnswerCall():
                self._call.answer()
                self._tell(CallAnswered(self._call.codec))
            case EndCall(status, reason):
                self._farewell = status, reason
                self._finish(ConversationEnded("bot", status or 200, reason or "the bot hung up"))
            case TransferCall():
                self._transfer(command)
            case HoldCall(True):
                self._call.hold()
            case HoldCall(False):
                self._call.resume()
            case StartRecording(name, stereo):
                self._recorder.start(name, stereo=stereo)
            case StopRecording():
                self._recorder.stop()
            case Reply(message):
                self._link.send((message,))
            case _:
                pass

    def _send_digits(self, digits: str, duration_ms: int) -> None:
        now = trio.current_time()
        # Roughly, because a pause takes longer than a digit.
        end = max(self._digits_end, now) + len(digits) * (duration_ms + GAP_MS) / 1000
        if end - now > _MOST_DIGITS:
            raise LocalProtocolError(f"more than {_MOST_DIGITS:g} s of digits wait")
        self._call.send_dtmf(digits, duration_ms=duration_ms)
        self._digits_end = end

    def _mark(self, name: str) -> None:
        if len(self._marks) >= _MOST_MARKS:
            raise LocalProtocolError(f"more than {_MOST_MARKS} marks wait")
        self._marks.append((name, self._playback.mark()))
        if len(self._marks) == 1 and self._spawn is not None:
            self._spawn(self._follow_marks)

    def _transfer(self, transfer: TransferCall) -> None:
        if len(self._transfers) > 1:
            raise LocalProtocolError("the call is being transferred already")
        self._transfers.append(transfer)
        if len(self._transfers) == 1 and self._spawn is not None:
            self._spawn(self._follow_transfers)
