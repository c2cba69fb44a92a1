"""The control channel: commands come in as JSON, answers, snapshots, meters and quality go out.

Transport-neutral: `converse` is given a way to receive and a way to send, which are the Quart
WebSocket's in the server. One task writes, so that messages never interleave; each command runs
in a task of its own, because saving an account takes seconds and hanging up must not wait for it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
import trio

from spech.phone.checkup import Step
from spech.web.audio import Tickets
from spech.web.commands import Commands
from spech.web.messages.accounts import StepMessage
from spech.web.messages.channel import Command, Done, Failed, Fault
from spech.web.messages.command import Envelope, Refused
from spech.web.messages.quality import MetersMessage, Quality, QualityMessage
from spech.web.messages.state import StateMessage
from spech.web.people import People
from spech.web.sessions import PageSession
from spech.web.switchboard import Switchboard

#: Longest command in bytes; a longer one closes the connection.
MAX_COMMAND = 65536
#: Commands of one connection that may be under way at once; more wait unread.
MAX_UNDER_WAY = 16

_log: Final = logging.getLogger(__name__)

_COMMAND = msgspec.json.Decoder(Command)
_ENVELOPE = msgspec.json.Decoder(Envelope)
_encoder = msgspec.json.Encoder()


async def converse(
    people: People,
    switchboard: Switchboard,
    session: PageSession,
    tickets: Tickets,
    receive: Callable[[], Awaitable[str | bytes | None]],
    send: Callable[[str], Awaitable[None]],
) -> None:
    """Serve one control connection of a session. Cancel it when the connection has ended."""
    connection = _Connection(people, switchboard, session, tickets, send)
    with switchboard.attended():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.write)
            nursery.start_soon(connection.watch_state)
            nursery.start_soon(connection.watch_meters)
            while True:
                text = await receive()
                await connection.under_way.acquire()
                nursery.start_soon(connection.execute, text)


class _Connection:
    def __init__(
        self,
        people: People,
        switchboard: Switchboard,
        session: PageSession,
        tickets: Tickets,
        send: Callable[[str], Awaitable[None]],
    ) -> None:
        self._switchboard = switchboard
        self._commands = Commands(people, switchboard, session, tickets)
        self._send = send
        self.under_way = trio.Semaphore(MAX_UNDER_WAY)
        # What is to be written: steps and answers in order, and the news, each of which replaces
        # itself.
        self._answers: deque[Done | Failed | StepMessage] = deque()
        self._state_is_new = True
        self._meters_are_new = False
        self._quality: dict[str, Quality] = {}
        self._work = trio.Event()

    async def write(self) -> None:
        """The one writer: answers first, then the newest state, then the newest meters."""
        while True:
            self._work = trio.Event()
            if self._state_is_new:
                self._state_is_new = False
                await self._put(StateMessage(self._switchboard.state))
            while self._answers:
                await self._put(self._answers[0])
                if not isinstance(self._answers.popleft(), StepMessage):
                    self.under_way.release()
            if self._meters_are_new:
                self._meters_are_new = False
                await self._put(MetersMessage(self._switchboard.meters))
            quality = self._switchboard.quality
            if quality and quality is not self._quality:
                self._quality = quality
                await self._put(QualityMessage(quality))
            await self._work.wait()

    async def watch_state(self) -> None:
        while True:
            await self._switchboard.change.wait()
            self._state_is_new = True
            self._work.set()

    async def watch_meters(self) -> None:
        while True:
            await self._switchboard.beat()
            self._meters_are_new = True
            self._work.set()

    async def execute(self, text: str | bytes | None) -> None:
        """Carry one command out and queue its one answer."""
        self._answers.append(await self._answer(text))
        self._work.set()

    async def _answer(self, text: str | bytes | None) -> Done | Failed:
        if not isinstance(text, str):
            return _bad_request(None, "A command is a text frame.")
        try:
            id = _ENVELOPE.decode(text).id
        except (msgspec.DecodeError, RecursionError):
            return _bad_request(None, "A command is a JSON object with an id.")
        try:
            command = _COMMAND.decode(text)
        except msgspec.DecodeError as error:
            return _bad_request(id, str(error))
        try:
            return Done(id, await self._commands.run(command, partial(self._report, id)))
        except Refused as refused:
            return Failed(id, Fault(refused.code, refused.message, refused.hint))
        except Exception:
            # One command's error must not end the connection, nor stay without an answer.
            _log.exception("the command %s failed", type(command).__name__)
            return Failed(
                id, Fault("internal", "Something went wrong inside the phone.", "See its log.")
            )

    def _report(self, id: int | str, step: Step) -> None:
        """Queue a step of the command with that id."""
        self._answers.append(StepMessage(id, step))
        self._work.set()

    async def _put(self, message: msgspec.Struct) -> None:
        await self._send(_encoder.encode(message).decode())


def _bad_request(id: int | str | None, message: str) -> Failed:
    return Failed(id, Fault("bad_request", message, ""))
