"""The line: the phone of one account, and a task for each of its calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

import spech
from spech.errors import SpechError
from spech.phone.account import parse_address
from spech.scopes import open_scope
from spech.sip.message.display import displayable
from spech.web.appearance import LONGEST_ADDRESS, Appearance
from spech.web.calls import CALL_LIMIT, CallList
from spech.web.chats import Chats
from spech.web.desk import Desk
from spech.web.messages.accounts import (
    AccountRegistration,
    AccountState,
    RegistrationPhase,
    VoicemailState,
)
from spech.web.messages.command import Refused
from spech.web.store import StoredAccount
from spech.web.texts import first_of, in_words
from spech.web.trial import library_account
from spech.web.voicemail import watch_voicemail

if TYPE_CHECKING:
    from spech import Call, IncomingCall, Phone, TransferRequest

    #: How an outgoing call is placed.
    Placing = Callable[[Phone], AbstractAsyncContextManager[Call]]

_log: Final = logging.getLogger(__name__)

#: Between two attempts to open a phone that cannot be opened (its port is taken), seconds.
REOPEN_SECONDS = 5.0

_UNANSWERED = "The call was ended before it was answered."
_GAVE_UP = "The caller hung up before you answered."
_ANSWERED_ELSEWHERE = "The call was answered on another phone."
_ALL_BUSY = "All lines were busy."
_FORWARDED = "The call was forwarded."
_DO_NOT_DISTURB = "The call was refused: do not disturb is on."
_BUSY = "The call was refused: you were in another call."
_CLOSED = "The call was ended because its account was removed."
#: A phone that is not registered (yet, or after a failure) will be soon.
_STATES: dict[str, RegistrationPhase] = {
    "off": "registering",
    "registering": "registering",
    "registered": "registered",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class PhoneSettings:
    """How the phones of all accounts are opened; see :func:`spech.open_phone`.

    Attributes:
        listen: the local address for SIP.
        drain: seconds that farewells may take.
        stun: the STUN server, None without one.
        callers: who may ring besides the registrars.
        strangers: how many calls of others may ring at once, for each account.
        journals: the folder of the journals, one for each account; None for none.
    """

    listen: tuple[str, int] = ("0.0.0.0", 0)
    drain: float = 5.0
    stun: str | None = None
    callers: Sequence[str] = ()
    strangers: int = 0
    journals: Path | None = None


class Line:
    """Opens the phone of ``account`` and keeps its part of ``calls`` in step with it.

    ``notify`` is called at each change that a page shows. ``desk`` has the rules for calls, and
    ``chats`` keep the text messages.
    """

    def __init__(
        self,
        account: StoredAccount,
        calls: CallList,
        desk: Desk,
        chats: Chats,
        notify: Callable[[], None],
    ) -> None:
        self.account = account
        self._desk = desk
        self._chats = chats
        self._mailbox: VoicemailState | None = None
        self._calls = calls
        self._notify = notify
        self._outgoing: trio.MemorySendChannel[tuple[Appearance, Placing]] | None = None
        #: The phone, None while it is not open.
        self.phone: Phone | None = None
        self._scope = trio.CancelScope()
        #: Set when the phone is closed for good: its calls are over and it is not registered.
        self.closed = trio.Event()
        self._registration = AccountRegistration("registering", None, "")

    @property
    def state(self) -> AccountState:
        """The account's part of the state feed. Holds no secret."""
        account = self.account
        return AccountState(
            id=account.id,
            name=account.name,
            server=account.server,
            port=account.port,
            transport=account.transport,
            user=account.user,
            codecs=account.codecs,
            encryption=account.encryption,
            auth_user=account.auth_user,
            display_name=account.display_name,
            proxy=account.proxy,
            stun=account.stun,
            country=account.country,
            number_format=account.number_format,
            prefix=account.prefix,
            voicemail=account.voicemail,
            registration=self._registration,
            mailbox=self._mailbox,
        )

    @property
    def calls(self) -> list[Appearance]:
        """The calls of the account that are not over."""
        return [each for each in self._calls.live if each.account == self.account.id]

    def close(self) -> None:
        """End the calls, each with its farewell, remove the registration and close the phone."""
        for appearance in self.calls:
            appearance.hang_up(text=_CLOSED, decline_status=480)
        self._scope.cancel()

    def dial(self, target: str) -> Appearance:
        """Begin an outgoing call, which runs in a task of its own.

        Raises:
            Refused: the phone is not open at the moment.
        """
        return self._begin(target, lambda phone: phone.call(target))

    def follow(self, referral: TransferRequest, target: str) -> Appearance:
        """The same for a call that the far end of another one asks for.

        Raises:
            Refused: the phone is not open at the moment.
        """
        return self._begin(target, lambda _: referral.follow())

    def _begin(self, target: str, place: Placing) -> Appearance:
        if self._outgoing is None:
            raise self.not_ready()
        appearance = self._calls.begin(self.account.id, "outgoing", target, None)
        self._outgoing.send_nowait((appearance, place))
        return appearance

    def not_ready(self) -> Refused:
        """The answer to a command that needs the phone while it is not open."""
        return Refused(
            "no_account",
            f"The phone is not ready. {self._registration.reason}".strip(),
            "Try again in a moment, or check the settings.",
        )

    async def run(self, settings: PhoneSettings) -> None:
        """Keep the phone open until it is closed. One that cannot be opened is tried again.

        Args:
            settings: how the phone is opened.
        """
        try:
            with self._scope:
                while True:
                    self._set_registration("registering", None, "")
                    try:
                        await self._run_phone(settings)
                    except* Exception as group:
                        error = first_of(group)
                        address = self.account.address
                        _log.error("the phone of %s is opened again", address, exc_info=error)
                        self._set_registration("failed", None, str(error) or type(error).__name__)
                    await trio.sleep(REOPEN_SECONDS)
        finally:
            self.closed.set()

    async def _run_phone(self, settings: PhoneSettings) -> None:
        send, receive = trio.open_memory_channel["tuple[Appearance, Placing]"](CALL_LIMIT)
        with send, receive:
            async with (
                spech.open_phone(
                    library_account(self.account),
                    listen=settings.listen,
                    codecs=self.account.codecs,
                    drain=settings.drain,
                    journal=settings.journals and settings.journals / self.account.id,
                    stun=self.account.stun_uri or settings.stun,
                    rules=self._desk.rules,
                    callers=settings.callers,
                    strangers=settings.strangers,
                ) as phone,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._watch_registration, phone)
                nursery.start_soon(self._take_incoming, phone, nursery)
                nursery.start_soon(self._take_turned_away, phone)
                nursery.start_soon(self._take_messages, phone)
                nursery.start_soon(watch_voicemail, phone, self.account, self._set_mailbox)
                self._outgoing, self.phone = send, phone
                try:
                    async for appearance, place in receive:
                        nursery.start_soon(self._run_outgoing, appearance, place(phone))
                finally:
                    self._outgoing = self.phone = None
                    # Also those that were still waiting to be placed.
                    for appearance in self.calls:
                        if appearance.call is None:
                            appearance.end("local", None, _UNANSWERED, _now())
                            self._calls.note(appearance)

    async def _watch_registration(self, phone: Phone) -> None:
        while True:
            now = phone.registration
            self._set_registration(_STATES.get(now.state, "failed"), now.status, now.reason)
            await phone.registration_changed()

    async def _take_incoming(self, phone: Phone, nursery: trio.Nursery) -> None:
        async for incoming in phone.incoming_calls():
            if self._calls.is_full("incoming"):
                self._calls.refuse(incoming, self.account.id, 486, _ALL_BUSY)
                continue
            appearance = self._calls.begin(
                self.account.id, "incoming", incoming.caller_number, incoming.display_name
            )
            appearance.timeline = partial(getattr, incoming, "timeline")
            nursery.start_soon(self._run_incoming, incoming, appearance)

    async def _take_turned_away(self, phone: Phone) -> None:
        """Note calls that the rules have refused or forwarded."""
        async for incoming in phone.turned_away():
            if incoming.forwarded_to:
                status, text = 302, _FORWARDED
            elif self._desk.settings.do_not_disturb:
                status, text = 480, _DO_NOT_DISTURB
            else:
                status, text = 486, _BUSY
            appearance = self._calls.refuse(incoming, self.account.id, status, text)
            self._desk.note("ended", appearance, self.account)

    async def _take_messages(self, phone: Phone) -> None:
        async for message in phone.messages():
            await self._chats.receive(self.account, message)

    def _set_mailbox(self, mailbox: VoicemailState) -> None:
        self._mailbox = mailbox
        self._notify()

    async def _run_outgoing(
        self, appearance: Appearance, placed: AbstractAsyncContextManager[Call]
    ) -> None:
        with self._edge(appearance), appearance.scope:
            async with placed as call:
                await self._follow(appearance, call)

    async def _run_incoming(self, incoming: IncomingCall, appearance: Appearance) -> None:
        with self._desk.announced(appearance, self.account), self._edge(appearance):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._await_caller, incoming, appearance, nursery.cancel_scope)
                await appearance.decided.wait()
                nursery.cancel_scope.cancel()
            if not appearance.live:
                return
            if not appearance.accepted:
                incoming.reject(appearance.decline_status)
                appearance.end(
                    "local",
                    appearance.decline_status,
                    "You declined the call.",
                    _now(),
                )
                return
            async with incoming.answer() as call:
                await self._follow(appearance, call)

    async def _await_caller(
        self, incoming: IncomingCall, appearance: Appearance, scope: trio.CancelScope
    ) -> None:
        await incoming.ended()
        if incoming.forwarded_to:
            appearance.end("local", 302, _FORWARDED, _now())
        elsewhere = incoming.answered_elsewhere
        appearance.end(
            "remote",
            487,
            _ANSWERED_ELSEWHERE if elsewhere else _GAVE_UP,
            _now(),
            elsewhere=elsewhere,
        )
        scope.cancel()

    async def _follow(self, appearance: Appearance, call: Call) -> None:
        appearance.connect(call)
        async with open_scope() as nursery:
            nursery.start_soon(self._run_transfers, appearance, call)
            nursery.start_soon(appearance.keys.run, call)
            nursery.start_soon(self._desk.attend, appearance, self.account, call)
            nursery.start_soon(self._take_referrals, appearance, call)
            while call.state != "ended":
                appearance.notice()
                self._calls.note(appearance)
                self._notify()
                await call.changed()
            nursery.cancel_scope.cancel()
        appearance.end_with_call(_now())

    async def _take_referrals(self, appearance: Appearance, call: Call) -> None:
        """They want to transfer us: the person decides."""
        async for request in call.transfers():
            target = parse_address(request.target)
            ours = target.host == self.account.server
            named = target.user or target.host
            shown = named if ours else f"{named}@{target.host}"
            appearance.ask(request, displayable(shown, LONGEST_ADDRESS))
            self._notify()

    async def _run_transfers(self, appearance: Appearance, call: Call) -> None:
        async for transfer in appearance.transfers:
            await transfer.run(call, self._notify)

    @contextmanager
    def _edge(self, appearance: Appearance) -> Iterator[None]:
        """The edge of a call's task: whatever goes wrong in it ends this call and no other."""
        try:
            yield
        except* Exception as group:
            error = first_of(group)
            by, status, text = in_words(error)
            if not isinstance(error, SpechError):
                _log.error("call %s failed", appearance.id, exc_info=error)
            appearance.end(by, status, text, _now())
        finally:
            appearance.end("local", None, _UNANSWERED, _now())
            self._calls.note(appearance)
            self._notify()

    def _set_registration(self, state: RegistrationPhase, status: int | None, reason: str) -> None:
        self._registration = AccountRegistration(state, status, reason)
        self._notify()


def _now() -> float:
    return trio.current_time()
