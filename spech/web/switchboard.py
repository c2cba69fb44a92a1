"""The switchboard: the phone of the saved account, its calls, and what pages are shown of them.

The server owns the calls; pages come and go. The phone runs in a task that is started again with
the new account when the account changes, each call in a task of its own under the phone, so
cancelling the switchboard gives every call the farewell that the library guarantees.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from importlib.metadata import version

import msgspec
import trio

from spech import codecs
from spech.errors import (
    CallEnded,
    LocalProtocolError,
    VaultError,
)
from spech.web.appearance import Appearance
from spech.web.calls import CALL_LIMIT, ENDED_STAYS, CallList
from spech.web.handover import Handover
from spech.web.line import Line
from spech.web.merged import Merged, Place
from spech.web.messages import (
    AccountState,
    AudioState,
    CodecState,
    Meters,
    Outcome,
    Quality,
    Refused,
    State,
    VaultState,
)
from spech.web.recordings import Format, RecordingFolder
from spech.web.store import SavedAccount, Settings, Store
from spech.web.trial import try_account

logger = logging.getLogger("spech.web")

METER_SECONDS = 0.1
QUALITY_BEATS = 10

_DIGITS = re.compile(r"[0-9*#A-Da-d]{1,64}")
_TARGET = re.compile(r"(?=.*[A-Za-z0-9*#])[^\x00-\x1f\x7f<>\"]{1,256}")

#: What a new account is offered: every provider has the first two, wideband where there is some.
_SUGGESTED = ("PCMU", "PCMA", "G722")


class Switchboard:
    """See the module. Opened by `open_switchboard`.

    ``audio_port`` and ``grace`` (seconds) are told to the pages.
    """

    def __init__(
        self,
        store: Store,
        *,
        sip_listen: tuple[str, int],
        stun: str | None,
        grace: float,
        drain: float,
        audio_port: int,
    ) -> None:
        self._store = store
        self._sip_listen = sip_listen
        self._stun = stun
        self._grace = grace
        self._drain = drain
        self.audio_port = audio_port
        self._codecs = tuple(
            CodecState(
                name=info.name,
                rate=info.rate,
                bitrate=info.bitrate,
                available=info.available,
                package=info.package or "",
                suggested=info.name in _SUGGESTED,
            )
            for info in codecs.describe()
        )
        self._available = frozenset(codec.name for codec in self._codecs if codec.available)
        self._version = version("spech")
        self._settings: Settings | None = None
        self._vault_fault = ""
        self._saving = trio.Lock()
        self._account_changed = trio.Event()
        self._line: Line | None = None
        self._conferences = 0
        self.recordings = RecordingFolder(store.vault.folder / "recordings")
        self._spoilt = 0
        self._pages = 0
        self._absent_since = trio.current_time()
        self._changed = trio.Event()
        self.calls = CallList(self.notify)
        self._beat = trio.Event()
        self.meters: dict[str, Meters] = {}
        self.quality: dict[str, Quality] = {}

    # What pages see

    @property
    def state(self) -> State:
        """A whole snapshot for the state feed. Holds no secret."""
        account, line = self._account, self._line
        if self._vault_fault:
            vault = VaultState("damaged", self._vault_fault)
        else:
            vault = VaultState("empty" if self._settings is None else "open", "")
        return State(
            version=self._version,
            account=None
            if account is None or line is None
            else AccountState(
                server=account.server,
                port=account.port,
                transport=account.transport,
                user=account.user,
                codecs=account.codecs,
                encryption=account.encryption,
                registration=line.registration,
            ),
            vault=vault,
            codecs=self._codecs,
            audio=AudioState(self.audio_port, self._rate(account)),
            grace_s=self._grace,
            calls=tuple(appearance.snapshot() for appearance in self.calls),
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
        """A page is there while the block runs; without any, calls live for the grace period."""
        self._pages += 1
        try:
            yield
        finally:
            self._pages -= 1
            if self._pages == 0:
                self._absent_since = trio.current_time()
                self.notify()

    # Commands

    def dial(self, target: str) -> Appearance:
        """Begin an outgoing call to a number or a SIP URI; it goes on in a task of its own."""
        if self._line is None:
            raise Refused("no_account", "No SIP account is set up.", "Open Settings and enter one.")
        target = target.strip()
        if not _TARGET.fullmatch(target):
            raise Refused("bad_target", "This is not a number.", "Enter a number or a SIP address.")
        self._refuse_when_full()
        appearance = self._line.dial(target)
        self._hold_others(appearance)
        return appearance

    def _refuse_when_full(self) -> None:
        if self.calls.full:
            raise Refused(
                "call_limit", f"{CALL_LIMIT} calls are up already.", "Hang up one of them first."
            )

    def answer(self, call: str) -> None:
        """Answer an incoming call; who was talked to is put on hold."""
        appearance = self.calls.find_live(call)
        self._hold_others(appearance)
        appearance.accept()

    def hang_up(self, call: str) -> None:
        """End a call in whatever state it is; an incoming one that rings is declined."""
        self.calls.find(call).hang_up()

    def decline(self, call: str) -> None:
        """Decline an incoming call that rings."""
        appearance = self.calls.find_live(call)
        if appearance.direction == "outgoing":
            raise Refused("no_such_call", "This call did not come in.", "Hang up instead.")
        appearance.hang_up()

    def dismiss(self, call: str) -> None:
        """Take an ended call off the list."""
        appearance = self.calls.find(call)
        if appearance.live:
            raise Refused("no_such_call", "This call is not over.", "Hang up first.")
        appearance.decline_referral()
        self.calls.forget(appearance)

    def dtmf(self, call: str, digits: str) -> None:
        """Send digits (RFC 4733) into an answered call."""
        if not _DIGITS.fullmatch(digits):
            raise Refused("bad_digits", "These keys cannot be sent.", "Use 0-9, *, # and A-D.")
        appearance = self._find_answered(call)
        assert appearance.call is not None
        try:
            appearance.call.send_dtmf(digits)
        except LocalProtocolError as error:
            raise Refused(
                "bad_digits", "The other side takes no keys in this call.", str(error)
            ) from error
        except CallEnded as error:
            raise Refused("no_such_call", "This call is over.") from error

    def press(self, call: str, digit: str) -> None:
        """Hold a key down in an answered call, until it is released."""
        self._find_answered(call).keys.press(digit)

    def mute(self, call: str, muted: bool) -> None:
        """Send silence in place of the microphone, or the microphone again."""
        for appearance in _together(self.calls.find_live(call)):
            appearance.muted = muted
        self.notify()

    def hold(self, call: str, held: bool) -> None:
        """Put the far end on hold, or talk on: then everybody else is put on hold.

        Of a conference, that is all calls.
        """
        appearance = self._find_answered(call)
        if not held:
            self._hold_others(appearance)
        for each in _together(appearance):
            _hold(each, held)

    def merge(self, calls: Sequence[str]) -> str:
        """Bring answered calls into one conversation, and talk to all; the conference's id.

        Where one is in a conference already, the others join it.
        """
        members = [self._find_answered(call) for call in dict.fromkeys(calls)]
        if len(members) < 2:
            raise Refused("no_such_call", "This takes two calls.")
        conference = next((each.place.conference for each in members if each.place), None)
        if conference is None:
            self._conferences += 1
            conference = Merged(f"r{self._conferences}")
        muted = any(each.muted for each in members)
        for each in (*conference.calls, *members):
            _hold(each, False)
        for each in members:
            conference.take_in(each)
        for each in conference.calls:
            each.muted = muted
            each.sit()
        self._hold_others(members[0])
        self.notify()
        return conference.id

    def split(self, call: str) -> None:
        """Take a call out of its conference and talk to it alone; the others are put on hold."""
        conference = self._find_member(call).conference
        alone = self.calls.find_live(call)
        conference.let_go(alone)
        self._hold_others(alone)
        self.notify()

    def set_member(self, call: str, gain: float, muted: bool) -> None:
        """How the others in a conference hear a call: ``gain`` decibels louder, or not at all."""
        place = self._find_member(call)
        place.gain, place.muted = gain, muted
        self.calls.find_live(call).sit()
        self.notify()

    def transfer(self, call: str, target: str) -> None:
        """Have the far end call ``target``; how it goes is in the state."""
        target = target.strip()
        if not _TARGET.fullmatch(target):
            raise Refused("bad_target", "This is not a number.", "Enter a number or a SIP address.")
        self._hand_over(self._find_answered(call), Handover(target))

    def connect(self, call: str, other: str) -> None:
        """Connect the far ends of two calls with each other; how it goes is in the state."""
        appearance, partner = self._find_answered(call), self._find_answered(other)
        if appearance is partner:
            raise Refused("no_such_call", "This takes two calls.")
        self._hand_over(appearance, Handover(partner.display_name or partner.remote, partner.call))
        partner.connected_by = appearance

    def follow(self, call: str, accepted: bool) -> Outcome:
        """Call whom the far end of a call wants us to talk to, or stay."""
        appearance = self.calls.find(call)
        referral = appearance.referral
        if referral is None or self._line is None:
            raise Refused("no_such_call", "Nobody asks for this any more.")
        if not accepted:
            appearance.decline_referral()
            self.notify()
            return {}
        self._refuse_when_full()
        new = self._line.follow(referral, appearance.referred_to)
        appearance.referral = None
        self._hold_others(new)
        return {"call": new.id}

    def _hand_over(self, appearance: Appearance, handover: Handover) -> None:
        if appearance.handover is not None and not appearance.handover.over:
            raise Refused("busy", "This call is being passed on already.", "Wait for the outcome.")
        appearance.hand_over(handover)
        self.notify()

    async def record(self, call: str, kind: Format, *, stereo: bool) -> str:
        """Record a call, all of it in a conference; the name of the file."""
        appearance = self.calls.find_live(call)
        recording = appearance.recording
        if recording is not None and not recording.stopped:
            raise Refused("busy", "This call is being recorded already.")
        if appearance.call is None:
            raise Refused("not_answered", "There is no sound yet.", "Wait for the answer.")
        try:
            recording = self.recordings.begin(
                appearance.call,
                appearance.remote,
                kind,
                stereo=stereo,
                now=datetime.now().astimezone(),
            )
        except CallEnded as error:
            raise Refused("no_such_call", "This call is over.") from error
        appearance.recording = recording
        self.notify()
        return recording.path.name

    def pause_record(self, call: str, paused: bool) -> None:
        """Leave out what is said, or record on; nothing happens where nothing is recorded."""
        recording = self.calls.find_live(call).recording
        if recording is not None:
            recording.paused = paused
            self.notify()

    async def stop_record(self, call: str) -> None:
        """Complete the recording of a call; nothing happens where there is none."""
        appearance = self.calls.find(call)
        if appearance.recording is not None:
            await trio.to_thread.run_sync(appearance.recording.stop)
            appearance.recording = None
            self.notify()

    def _find_member(self, call: str) -> Place:
        place = self.calls.find_live(call).place
        if place is None:
            raise Refused("no_conference", "This call is in no conference.", "Merge it first.")
        return place

    def _find_answered(self, call: str) -> Appearance:
        appearance = self.calls.find_live(call)
        if not appearance.answered:
            raise Refused("not_answered", "The call is not answered yet.", "Wait for the answer.")
        return appearance

    def _hold_others(self, appearance: Appearance) -> None:
        """One is talked to at a time: nobody hears what is said to another."""
        for other in self.calls.live:
            if other not in _together(appearance):
                with suppress(LocalProtocolError):
                    other.hold(True)

    async def save_account(self, account: SavedAccount, *, keep_password: bool = False) -> None:
        """Try the account with a real REGISTER; store and use it only after a 200.

        ``keep_password`` takes the stored password, which must be for the same user and server:
        it is not shown to another one.

        Raises:
            Refused: with the codes of docs/protocol.md; then nothing was stored.
        """
        async with self._saving:
            await self._open_vault()
            if keep_password:
                account = self._with_stored_password(account)
            fault = account.fault(self._available)
            if fault is not None:
                raise Refused("bad_settings", fault)
            self._refuse_during_calls()
            await try_account(account, self._sip_listen[0])
            self._refuse_during_calls()
            await self._store_settings(Settings(account=account))

    async def forget_account(self) -> None:
        """Take the account out of the vault and close its phone."""
        async with self._saving:
            await self._open_vault()
            self._refuse_during_calls()
            if self._settings is not None:
                await self._store_settings(Settings())

    # Tasks

    async def load(self) -> None:
        """Read the stored settings. A vault that cannot be opened is shown, never touched."""
        try:
            self._settings = await trio.to_thread.run_sync(self._store.load)
            self._vault_fault = ""
        except VaultError as error:
            logger.error("%s", error)
            self._vault_fault = str(error)

    async def run_phone(self) -> None:
        """Run the phone of the present account, for ever; anew whenever the account changes."""
        while True:
            self._account_changed = changed = trio.Event()
            account = self._account
            if account is None:
                self._line = None
                self.notify()
                await changed.wait()
                continue
            self._line = Line(account, self.calls, self.notify)
            self.notify()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._line.run, self._sip_listen, self._drain, self._stun)
                await changed.wait()
                nursery.cancel_scope.cancel()

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
        """End calls that nobody attended for the grace period; forget ended calls in time."""
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
                        text="The call was ended because no page was open any more.",
                        decline_status=480,
                    )
                else:
                    self.calls.forget(appearance)
            with trio.move_on_at(deadline):
                await changed.wait()

    def _due(self, appearance: Appearance) -> float:
        if appearance.ended_at is not None:
            return appearance.ended_at + ENDED_STAYS
        if self._pages > 0 or appearance.hung_up:
            return math.inf
        return max(self._absent_since, appearance.began_at) + self._grace

    # Settings

    def _with_stored_password(self, account: SavedAccount) -> SavedAccount:
        stored = self._account
        if stored is None or (stored.server, stored.user) != (account.server, account.user):
            raise Refused(
                "bad_settings",
                "The password is missing.",
                "Enter it again: a stored password is used for its own server and user only.",
            )
        return msgspec.structs.replace(account, password=stored.password)

    async def _store_settings(self, settings: Settings) -> None:
        # Shielded: the file and the running phone must not end up with different accounts.
        with trio.CancelScope(shield=True):
            try:
                await trio.to_thread.run_sync(self._store.save, settings)
            except VaultError as error:
                raise Refused("vault_damaged", str(error)) from error
        self._settings = settings
        self._account_changed.set()

    async def _open_vault(self) -> None:
        """A vault that was damaged at the start may have been put in order since."""
        if not self._vault_fault:
            return
        await self.load()
        if self._vault_fault:
            raise Refused("vault_damaged", self._vault_fault)
        self._account_changed.set()

    @property
    def _account(self) -> SavedAccount | None:
        return None if self._settings is None else self._settings.account

    def _refuse_during_calls(self) -> None:
        if self.calls.live:
            raise Refused(
                "bad_settings", "The account cannot be changed during a call.", "Hang up first."
            )

    def _rate(self, account: SavedAccount | None) -> int:
        preferred = account.codecs[0] if account is not None else None
        for codec in self._codecs:
            if codec.name == preferred:
                return codec.rate
        return 8000

    def notify(self) -> None:
        """Something that the state shows has changed: wake all who wait for that."""
        self._changed.set()
        self._changed = trio.Event()


def _together(appearance: Appearance) -> tuple[Appearance, ...]:
    """The call, and those that are in a conference with it."""
    place = appearance.place
    return (appearance,) if place is None else tuple(place.conference.calls)


def _hold(appearance: Appearance, held: bool) -> None:
    try:
        appearance.hold(held)
    except LocalProtocolError as error:
        raise Refused(
            "not_answered", "The call is only just being answered.", "Try again."
        ) from error


@asynccontextmanager
async def open_switchboard(
    store: Store,
    *,
    sip_listen: tuple[str, int] = ("0.0.0.0", 0),
    stun: str | None = None,
    grace: float = 30.0,
    drain: float = 5.0,
    audio_port: int = 8888,
) -> AsyncIterator[Switchboard]:
    """Run a switchboard while the block runs; leaving it gives every call its farewell.

    Args:
        store: where the account is kept.
        sip_listen: the local address for SIP.
        stun: see :func:`spech.open_phone`.
        grace: seconds that calls go on when no page is open.
        drain: seconds that farewells may take.
        audio_port: the TCP port for PCM, told to the pages.
    """
    switchboard = Switchboard(
        store, sip_listen=sip_listen, stun=stun, grace=grace, drain=drain, audio_port=audio_port
    )
    await switchboard.load()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(switchboard.run_phone)
        nursery.start_soon(switchboard.run_meters)
        nursery.start_soon(switchboard.run_deadlines)
        try:
            yield switchboard
        finally:
            nursery.cancel_scope.cancel()
