"""The control channel: commands come in as JSON, answers, snapshots, meters and quality go out.

Transport-neutral: `converse` is given a way to receive and a way to send, which are the Quart
WebSocket's in the server. One task writes, so that messages never interleave; each command runs
in a task of its own, because saving an account takes seconds and hanging up must not wait for it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from spech.errors import SpechError, VaultError
from spech.web import messages
from spech.web.audio import Grant, Tickets
from spech.web.messages import Done, Failed, Fault, Refused
from spech.web.people import People
from spech.web.sessions import PageSession
from spech.web.store import ADMINISTRATOR, StoredAccount
from spech.web.switchboard import Switchboard

#: Longest command in bytes; a longer one closes the connection.
MAX_COMMAND = 65536
#: Commands of one connection that may be under way at once; more wait unread.
MAX_UNDER_WAY = 16

_log: Final = logging.getLogger(__name__)

_COMMAND = msgspec.json.Decoder(messages.Command)
_ENVELOPE = msgspec.json.Decoder(messages.Envelope)
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
        self._people = people
        self._switchboard = switchboard
        self._session = session
        self._tickets = tickets
        self._send = send
        self.under_way = trio.Semaphore(MAX_UNDER_WAY)
        # What is to be written: answers in order, and the news, each of which replaces itself.
        self._answers: deque[Done | Failed] = deque()
        self._state_is_new = True
        self._meters_are_new = False
        self._quality: dict[str, messages.Quality] = {}
        self._work = trio.Event()

    async def write(self) -> None:
        """The one writer: answers first, then the newest state, then the newest meters."""
        while True:
            self._work = trio.Event()
            if self._state_is_new:
                self._state_is_new = False
                await self._put(messages.StateMessage(self._switchboard.state))
            while self._answers:
                await self._put(self._answers[0])
                self._answers.popleft()
                self.under_way.release()
            if self._meters_are_new:
                self._meters_are_new = False
                await self._put(messages.MetersMessage(self._switchboard.meters))
            quality = self._switchboard.quality
            if quality and quality is not self._quality:
                self._quality = quality
                await self._put(messages.QualityMessage(quality))
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
            return Done(id, await self._run_command(command))
        except Refused as refused:
            return Failed(id, Fault(refused.code, refused.message, refused.hint))
        except Exception:
            # One command's error must not end the connection, nor stay without an answer.
            _log.exception("the command %s failed", type(command).__name__)
            return Failed(
                id, Fault("internal", "Something went wrong inside the phone.", "See its log.")
            )

    async def _run_command(self, command: messages.Command) -> messages.Outcome:
        switchboard = self._switchboard
        handset = switchboard.handset
        match command:
            case messages.Dial(target=target, account=account):
                return messages.CallOutcome(switchboard.dial(target, account).id)
            case messages.Answer(call=call):
                switchboard.answer(call)
            case messages.Decline(call=call):
                switchboard.decline(call)
            case messages.HangUp(call=call):
                switchboard.hang_up(call)
            case messages.Dismiss(call=call):
                switchboard.dismiss(call)
            case messages.Dtmf(call=call, digits=digits):
                handset.dtmf(call, digits)
            case messages.Press(call=call, digit=digit):
                handset.press(call, digit)
            case messages.Release(call=call, digit=digit):
                handset.release(call, digit)
            case messages.Mute(call=call, muted=muted):
                handset.mute(call, muted)
            case messages.Hold(call=call, held=held):
                handset.hold(call, held)
            case messages.Merge(calls=calls):
                return messages.ConferenceOutcome(handset.merge(calls))
            case messages.Split(call=call):
                handset.split(call)
            case messages.AdjustMember(call=call, gain=gain, muted=muted):
                handset.set_member(call, gain, muted)
            case messages.Record(call=call, format=format, stereo=stereo):
                return messages.RecordingOutcome(await handset.record(call, format, stereo=stereo))
            case messages.PauseRecord(call=call, paused=paused):
                handset.pause_record(call, paused)
            case messages.StopRecord(call=call):
                await handset.stop_record(call)
            case messages.ListRecordings():
                return messages.RecordingsOutcome(
                    await trio.to_thread.run_sync(switchboard.recordings.stored)
                )
            case messages.DeleteRecording(name=name):
                await trio.to_thread.run_sync(switchboard.recordings.delete, name)
            case (
                messages.ShowPeople()
                | messages.InvitePerson()
                | messages.ResetPassword()
                | messages.DismissPerson()
            ):
                return await self._administrate(command)
            case messages.BlindTransfer(call=call, target=target):
                handset.transfer(call, target)
            case messages.Connect(call=call, other=other):
                handset.connect(call, other)
            case messages.QualityHistory(call=call):
                return messages.QualityOutcome(switchboard.calls.find(call).quality_history)
            case messages.Follow(call=call, accepted=accepted):
                return switchboard.follow(call, accepted)
            case messages.GetTimeline(call=call):
                return messages.TimelineOutcome(switchboard.calls.find_kept(call).story())
            case messages.SaveAccount():
                id = await switchboard.accounts.save(
                    StoredAccount(
                        id=command.account or "",
                        name=command.name.strip(),
                        server=command.server.strip(),
                        port=command.port,
                        transport=command.transport,
                        user=command.user.strip(),
                        password=command.password or "",
                        codecs=command.codecs,
                        encryption=command.encryption,
                    ),
                    keep_password=command.password is None,
                )
                return messages.AccountOutcome(id)
            case messages.ForgetAccount(account=id):
                await switchboard.accounts.forget(id)
            case messages.AudioTicket(call=call):
                grant = Grant(switchboard.calls.find_live(call).id, switchboard, self._session)
                ticket = self._tickets.issue(grant, trio.current_time())
                return messages.TicketOutcome(ticket, switchboard.audio_port)
        return messages.Nothing()

    async def _administrate(
        self,
        command: messages.ShowPeople
        | messages.InvitePerson
        | messages.ResetPassword
        | messages.DismissPerson,
    ) -> messages.Outcome:
        if self._session.person != ADMINISTRATOR:
            raise Refused("not_administrator", "Only the administrator may do this.")
        people = self._people
        try:
            match command:
                case messages.ShowPeople():
                    names = [person.name for person, _ in people]
                    return messages.PeopleOutcome(tuple(names[1:]))
                case messages.InvitePerson(name=name):
                    return messages.PasswordOutcome(await people.add(name.strip()))
                case messages.ResetPassword(name=name):
                    return messages.PasswordOutcome(await people.reset(name))
                case messages.DismissPerson(name=name):
                    await people.remove(name)
        except VaultError as error:
            raise Refused("vault_damaged", str(error)) from error
        except SpechError as error:
            raise Refused("bad_person", str(error)) from error
        return messages.Nothing()

    async def _put(self, message: msgspec.Struct) -> None:
        await self._send(_encoder.encode(message).decode())


def _bad_request(id: int | str | None, message: str) -> Failed:
    return Failed(id, Fault("bad_request", message, ""))
