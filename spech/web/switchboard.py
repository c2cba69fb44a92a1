"""The switchboard: the saved accounts, their calls, and what pages are shown of them.

The server owns the calls; pages come and go. Each account has a phone in a task of its own, and
each call a task under its phone, so cancelling the switchboard gives every call the farewell that
the library guarantees.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import trio

from spech import codecs
from spech.phone.dialling import dialled_number
from spech.web.accounts import Accounts
from spech.web.appearance import Appearance
from spech.web.calls import CALL_LIMIT, ENDED_STAYS, CallList
from spech.web.chats import Chats
from spech.web.contacts import Contacts
from spech.web.database import Database
from spech.web.desk import Desk
from spech.web.handset import Handset, read_target
from spech.web.history import History
from spech.web.lamps import Lamps
from spech.web.line import PhoneSettings
from spech.web.lines import Lines
from spech.web.messages.calls import FollowOutcome
from spech.web.messages.command import Refused
from spech.web.messages.contacts import ContactsState
from spech.web.messages.people import PersonState
from spech.web.messages.quality import Meters, Quality
from spech.web.messages.state import AudioState, CodecState, KnownNumber, PageState
from spech.web.recordings import UNLIMITED, RecordingFolder, RecordingLimits
from spech.web.store import ADMINISTRATOR, Person, Store
from spech.web.subscriber import Subscriber
from spech.web.webhook import CallNote

if TYPE_CHECKING:
    from spech import Phone

METER_SECONDS = 0.1
QUALITY_BEATS = 10

_PHONES = PhoneSettings()
_ADMINISTRATOR = Person(id=ADMINISTRATOR, name=ADMINISTRATOR, password="")
#: The codecs of a new account in their order: wideband first, then what every provider has.
SUGGESTED_CODECS = ("opus", "G722", "PCMA", "PCMU")


#: How often expired recordings are looked for, seconds.
_EXPIRY_SECONDS = 3600.0


class Switchboard:
    """See the module. Opened by `open_switchboard`.

    ``audio_port`` and ``grace`` (seconds) are part of the state feed.
    """

    def __init__(
        self,
        store: Store,
        person: Person,
        *,
        phones: PhoneSettings,
        grace: float,
        audio_port: int,
        numbers: tuple[KnownNumber, ...],
        recordings: RecordingLimits,
        tell: Callable[[CallNote], None] | None,
    ) -> None:
        self._grace = grace
        self._numbers = numbers
        self.audio_port = audio_port
        self._codecs = tuple(
            CodecState(
                name=info.name,
                rate=info.rate,
                bitrate=info.bitrate,
                available=info.available,
                package=info.package or "",
                suggested=info.name in SUGGESTED_CODECS,
            )
            for info in sorted(codecs.describe(), key=lambda info: _preference(info.name))
        )
        self._version = version("spech")
        self._person = person
        self.recordings = RecordingFolder(store.folder(person.id) / "recordings", recordings)
        self._spoilt = 0
        self._pages: set[trio.CancelScope] = set()
        self._closed = False
        self._absent_since = trio.current_time()
        self._changed = trio.Event()
        self.database = Database(
            store.folder(person.id) / "personal.sqlite", partial(store.data_key, person.id)
        )
        self.history = History(self.database, self.notify)
        self.contacts = Contacts(self.database, self.notify)
        self.subscriber = Subscriber(
            self.database,
            self.contacts,
            self.notify,
            administrator=person.id == ADMINISTRATOR,
        )
        self.calls = CallList(self.notify, self._note)
        self.handset = Handset(self.calls, self.recordings, self.notify)
        self.desk = Desk(store, person, self.calls, self.handset, tell)
        self.chats = Chats(self.database, self._phone_of, self._is_contact, self.notify)
        self.lines = Lines(self.calls, self.desk, self.chats, self.notify, phones)
        self.lamps = Lamps(self.contacts, self.lines, self.notify)
        available = frozenset(codec.name for codec in self._codecs if codec.available)
        self.accounts = Accounts(store, person.id, self.lines, available, phones.listen[0])
        self._beat = trio.Event()
        self.meters: dict[str, Meters] = {}
        self.quality: dict[str, Quality] = {}

    # What pages see

    @property
    def state(self) -> PageState:
        """A whole snapshot for the state feed. Holds no secret."""
        return PageState(
            version=self._version,
            person=PersonState(self._person.name, self._person.id == ADMINISTRATOR),
            accounts=tuple(line.state for line in self.lines),
            vault=self.accounts.vault,
            call_settings=self.desk.settings,
            chats=self.chats.state,
            codecs=self._codecs,
            audio=AudioState(self.audio_port, self._rate()),
            grace_s=self._grace,
            numbers=self._numbers,
            history=self.history.state,
            contacts=ContactsState(
                len(self.contacts.directory),
                self.contacts.revision,
                self.lamps.favourites,
                self.subscriber.state,
            ),
            calls=tuple(
                appearance.snapshot(self.contacts.directory.name_of(appearance.remote))
                for appearance in self.calls
            ),
        )

    @property
    def change(self) -> trio.Event:
        """Set at the next change of the state: take it before `state`, then nothing is missed."""
        return self._changed

    async def beat(self) -> None:
        """Wait until the meters are fresh: ten times a second while a call is up."""
        await self._beat.wait()

    @contextmanager
    def attended(self) -> Iterator[None]:
        """A page is there while the block runs; without any, calls live for the grace period.

        The block is cancelled when the switchboard closes, so that the page connects again.
        """
        with trio.CancelScope() as scope:
            if self._closed:
                scope.cancel()
            self._pages.add(scope)
            try:
                yield
            finally:
                self._pages.discard(scope)
                if not self._pages:
                    self._absent_since = trio.current_time()
                    self.notify()

    # Commands

    def dial(
        self, target: str, account: str | None = None, *, confirmed: bool = False
    ) -> Appearance:
        """Begin an outgoing call to a number or a SIP URI; it runs in a task of its own.

        It goes by the account of that id, by the first one if none is named. A call to an expensive
        number has to be ``confirmed``.
        """
        line = self.lines.choose(account)
        target = read_target(target)
        rules = line.account.number_rules
        if rules is not None and not confirmed and rules.is_costly(dialled_number(target)):
            raise Refused(
                "costly", "Calls to this number may be expensive.", "Call again to confirm."
            )
        self._refuse_when_full()
        appearance = line.dial(target)
        self.handset.hold_others(appearance)
        return appearance

    def _phone_of(self, account: str) -> Phone | None:
        line = self.lines.get(account)
        return None if line is None else line.phone

    def _is_contact(self, number: str) -> bool:
        return self.contacts.directory.name_of(number) is not None

    def _refuse_when_full(self) -> None:
        if self.calls.is_full("outgoing"):
            raise Refused(
                "call_limit", f"{CALL_LIMIT} calls are up already.", "Hang up one of them first."
            )

    def answer(self, call: str) -> None:
        """Answer an incoming call, and put the active one on hold."""
        appearance = self.calls.find_live(call)
        self.handset.hold_others(appearance)
        appearance.accept()

    def hang_up(self, call: str) -> None:
        """End a call in whatever state it is; an incoming one that rings is declined."""
        self.calls.find(call).hang_up()

    def decline(self, call: str) -> None:
        """Decline an incoming call that rings."""
        appearance = self.calls.find_live(call)
        if appearance.direction == "outgoing":
            raise Refused("no_such_call", "This is not an incoming call.", "Hang up instead.")
        appearance.hang_up()

    def dismiss(self, call: str) -> None:
        """Take an ended call off the list."""
        appearance = self.calls.find(call)
        if appearance.live:
            raise Refused("no_such_call", "This call is not over.", "Hang up first.")
        appearance.decline_referral()
        self.calls.forget(appearance)

    def follow(self, call: str, accepted: bool) -> FollowOutcome:
        """Accept or decline a transfer that the far end asks for (REFER)."""
        appearance = self.calls.find(call)
        referral = appearance.referral
        line = self.lines.get(appearance.account)
        if referral is None or line is None:
            raise Refused("no_such_call", "This transfer is no longer offered.")
        if not accepted:
            appearance.decline_referral()
            self.notify()
            return FollowOutcome()
        self._refuse_when_full()
        new = line.follow(referral, appearance.referred_to)
        appearance.referral = None
        self.handset.hold_others(new)
        return FollowOutcome(new.id)

    def _note(self, appearance: Appearance) -> None:
        """Note in the history what is new about a call."""
        line = self.lines.get(appearance.account)
        self.history.note(appearance, "" if line is None else line.account.address)

    # Tasks

    @contextmanager
    def kept(self) -> Iterator[None]:
        """When the block is over, write what the calls have left, close the database, and send the
        pages away."""
        try:
            yield
        finally:
            self.history.finish()
            self._closed = True
            for page in self._pages:
                page.cancel()

    async def run_meters(self) -> None:
        """While a call is up, take fresh meters ten times a second, and its quality once."""
        next_beat = trio.current_time()
        beats = 0
        while True:
            live = self.calls.live
            if not live:
                self.meters, self.quality = {}, {}
                await self._changed.wait()
                next_beat = trio.current_time()
                continue
            self.meters = {appearance.id: appearance.meters for appearance in live}
            beats += 1
            if beats % QUALITY_BEATS == 0:
                sampled = [(appearance.id, appearance.sample()) for appearance in live]
                self.quality = {id: quality for id, quality in sampled if quality is not None}
                self._watch_recordings()
            self._beat.set()
            self._beat = trio.Event()
            next_beat = max(next_beat + METER_SECONDS, trio.current_time())
            await trio.sleep_until(next_beat)

    async def run_expiry(self) -> None:
        """Delete recordings that have been kept long enough, until cancelled."""
        while self.recordings.limits.keep is not None:
            await trio.to_thread.run_sync(self.recordings.delete_expired, time.time())
            await trio.sleep(_EXPIRY_SECONDS)

    def _watch_recordings(self) -> None:
        """Tell pages of a recording that the disk has ended."""
        spoilt = sum(
            each.recording is not None and each.recording.error is not None
            for each in self.calls.live
        )
        if spoilt != self._spoilt:
            self._spoilt = spoilt
            self.notify()

    async def run_deadlines(self) -> None:
        """End calls when no page was open for the grace period; forget ended calls later."""
        while True:
            changed = self._changed
            now = trio.current_time()
            deadline = math.inf
            for appearance in self.calls:
                due = self._due(appearance)
                if due > now:
                    deadline = min(deadline, due)
                elif appearance.live:
                    appearance.hang_up(
                        text="The call was ended because no page was open.",
                        decline_status=480,
                    )
                else:
                    self.calls.forget(appearance)
            with trio.move_on_at(deadline):
                await changed.wait()

    def _due(self, appearance: Appearance) -> float:
        if appearance.ended_at is not None:
            return appearance.ended_at + ENDED_STAYS
        if self._pages or appearance.hung_up:
            return math.inf
        return max(self._absent_since, appearance.began_at) + self._grace

    def _rate(self) -> int:
        preferred = {line.account.codecs[0] for line in self.lines}
        return max((codec.rate for codec in self._codecs if codec.name in preferred), default=8000)

    async def change_call_settings(self, changes: Mapping[str, object]) -> None:
        """Change some of the rules for calls.

        Raises:
            Refused: ``bad_request``, ``bad_target``, ``vault_damaged``.
        """
        await self.desk.change(changes)
        self.notify()

    def notify(self) -> None:
        """Wake the tasks that wait for a change of the state."""
        self.lines.set_rules()
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def open_switchboard(
    store: Store,
    person: Person = _ADMINISTRATOR,
    *,
    phones: PhoneSettings = _PHONES,
    grace: float = 30.0,
    audio_port: int = 8888,
    numbers: tuple[KnownNumber, ...] = (),
    recordings: RecordingLimits = UNLIMITED,
    tell: Callable[[CallNote], None] | None = None,
) -> AsyncIterator[Switchboard]:
    """Run a switchboard while the block runs; leaving it gives every call its farewell.

    Args:
        store: where the accounts are kept.
        person: whose accounts and calls these are.
        phones: how the phones of the accounts are opened.
        grace: seconds that calls continue when no page is open.
        audio_port: the TCP port for PCM, part of the state feed.
        numbers: numbers that pages suggest.
        recordings: how much they may take.
        tell: is told of incoming calls.
    """
    switchboard = Switchboard(
        store,
        person,
        phones=phones,
        grace=grace,
        audio_port=audio_port,
        numbers=numbers,
        recordings=recordings,
        tell=tell,
    )
    await switchboard.history.load()
    await switchboard.desk.load()
    await switchboard.chats.load()
    await switchboard.contacts.load()
    await switchboard.subscriber.load()
    await switchboard.accounts.load()
    with switchboard.kept():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(switchboard.lines.run)
            nursery.start_soon(switchboard.chats.run)
            nursery.start_soon(switchboard.history.run)
            nursery.start_soon(switchboard.subscriber.run)
            nursery.start_soon(switchboard.lamps.run, lambda: switchboard.change)
            nursery.start_soon(switchboard.run_meters)
            nursery.start_soon(switchboard.run_deadlines)
            nursery.start_soon(switchboard.run_expiry)
            try:
                yield switchboard
            finally:
                nursery.cancel_scope.cancel()


def _preference(codec: str) -> int:
    """The index of a codec in the list that a new account is offered."""
    if codec in SUGGESTED_CODECS:
        return SUGGESTED_CODECS.index(codec)
    return len(SUGGESTED_CODECS)
