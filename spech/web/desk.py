"""The desk: what a person wants of calls, the recording of all calls, and who is told of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import trio

from spech.errors import CallEnded, VaultError
from spech.phone.rules import CallRules
from spech.web.appearance import Appearance
from spech.web.calls import CallList
from spech.web.handset import Handset
from spech.web.messages.call_settings import CallSettings
from spech.web.messages.command import Refused
from spech.web.store import Person, Store, StoredAccount
from spech.web.webhook import CallNote

if TYPE_CHECKING:
    from spech import Call

_log: Final = logging.getLogger(__name__)

#: Between two beeps that tell of a recording, seconds.
BEEP_SECONDS = 15.0


class Desk:
    """Keeps the settings of a person and applies them to calls.

    Args:
        store: where they are kept.
        person: whose they are.
        calls: all calls of the person.
        handset: records calls.
        tell: is told of incoming calls.
    """

    def __init__(
        self,
        store: Store,
        person: Person,
        calls: CallList,
        handset: Handset,
        tell: Callable[[CallNote], None] | None,
    ) -> None:
        self._store = store
        self._person = person
        self._calls = calls
        self._handset = handset
        self._tell = tell
        self._changing = trio.Lock()
        #: The present settings.
        self.settings = CallSettings()

    @property
    def rules(self) -> CallRules:
        """The rules for the phones of all accounts."""
        return self.settings.rules(engaged=bool(self._calls.live))

    async def load(self) -> None:
        """Read the settings. Those of a damaged vault are the usual ones."""
        with suppress(VaultError):  # The accounts report it.
            self.settings = await trio.to_thread.run_sync(
                self._store.load_call_settings, self._person.id
            )

    async def change(self, changes: Mapping[str, object]) -> None:
        """Store other values of some settings, and use them from now on.

        Raises:
            Refused: ``bad_request``, ``bad_target``, ``vault_damaged``.
        """
        # Shielded: the file and the phones must not end up with different settings.
        with trio.CancelScope(shield=True):
            async with self._changing:
                try:
                    settings = self.settings.changed(changes)
                except msgspec.ValidationError as error:
                    raise Refused("bad_request", str(error)) from error
                if settings.fault:
                    raise Refused("bad_target", settings.fault, "Enter a number or a SIP address.")
                try:
                    await trio.to_thread.run_sync(
                        self._store.save_call_settings, self._person.id, settings
                    )
                except VaultError as error:
                    raise Refused("vault_damaged", str(error)) from error
                self.settings = settings

    @contextmanager
    def announced(self, appearance: Appearance, account: StoredAccount) -> Iterator[None]:
        """Tell that an incoming call rings, and when the block ends, how it ended."""
        self.note("ringing", appearance, account)
        try:
            yield
        finally:
            self.note("ended", appearance, account)

    def note(
        self,
        event: Literal["ringing", "answered", "ended"],
        appearance: Appearance,
        account: StoredAccount,
    ) -> None:
        """Tell what happened to an incoming call."""
        if self._tell is None or appearance.direction == "outgoing":
            return
        ended = appearance.ended
        self._tell(
            CallNote(
                event=event,
                at=round(time.time(), 3),
                call=appearance.id,
                person=self._person.name,
                account=account.address,
                number=appearance.remote,
                name=appearance.display_name,
                seconds=None if ended is None else appearance.snapshot().answered_s,
                text="" if ended is None else ended.text,
            )
        )

    async def attend(self, appearance: Appearance, account: StoredAccount, call: Call) -> None:
        """Tell of the answer; record a call if all are recorded, and beep while it is."""
        while call.state != "answered":
            await call.changed()
        self.note("answered", appearance, account)
        if not self.settings.record:
            return
        try:
            await self._handset.record(appearance.id, "wav", stereo=False)
        except Refused as refused:
            _log.warning("call %s is not recorded: %s", appearance.id, refused)
            return
        with suppress(CallEnded):
            while self.settings.record_beep and appearance.recording is not None:
                call.beep()
                await trio.sleep(BEEP_SECONDS)
