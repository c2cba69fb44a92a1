"""The switchboard: the phone of the saved account, its calls, and what pages are shown of them.

The server owns the calls; pages come and go. The phone runs in a task that is started again with
the new account when the account changes, each call in a task of its own under the phone, so
cancelling the switchboard gives every call the farewell that the library guarantees.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version

import msgspec
import trio

from spech import codecs
from spech.errors import (
    VaultError,
)
from spech.web.appearance import Appearance
from spech.web.calls import CALL_LIMIT, ENDED_STAYS, CallList
from spech.web.handset import Handset, read_target
from spech.web.line import Line
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
from spech.web.recordings import RecordingFolder
from spech.web.store import SavedAccount, Settings, Store
from spech.web.trial import try_account

logger = logging.getLogger("spech.web")

METER_SECONDS = 0.1
QUALITY_BEATS = 10

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
        self.recordings = RecordingFolder(store.vault.folder / "recordings")
        self._spoilt = 0
        self._pages = 0
        self._absent_since = trio.current_time()
        self._changed = trio.Event()
        self.calls = CallList(self.notify)
        self.handset = Handset(self.calls, self.recordings, self.notify)
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
        target = read_target(target)
        self._refuse_when_full()
        appearance = self._line.dial(target)
        self.handset.hold_others(appearance)
        return appearance

    def _refuse_when_full(self) -> None:
        if self.calls.full:
            raise Refused(
                "call_limit", f"{CALL_LIMIT} calls are up already.", "Hang up one of them first."
            )

    def answer(self, call: str) -> None:
        """Answer an incoming call; who was talked to is put on hold."""
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
            raise Refused("no_such_call", "This call did not come in.", "Hang up instead.")
        appearance.hang_up()

    def dismiss(self, call: str) -> None:
        """Take an ended call off the list."""
        appearance = self.calls.find(call)
        if appearance.live:
            raise Refused("no_such_call", "This call is not over.", "Hang up first.")
        appearance.decline_referral()
        self.calls.forget(appearance)

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
        self.handset.hold_others(new)
        return {"call": new.id}

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
