"""The voicemail lamp: how many messages wait in the mailbox of an account (RFC 3842)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from spech.errors import LocalProtocolError, RequestFailed, ServerUnreachable
from spech.phone.account import parse_address
from spech.web.messages.accounts import VoicemailState
from spech.web.store import StoredAccount

if TYPE_CHECKING:
    from spech import Mailbox, Phone

_log: Final = logging.getLogger(__name__)


async def watch_voicemail(
    phone: Phone, account: StoredAccount, report: Callable[[VoicemailState], None]
) -> None:
    """Report the state of the mailbox until cancelled.

    The server is asked for it once the account is registered, and is listened to if it tells
    without being asked.
    """
    while phone.registration.state != "registered":
        await phone.registration_changed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_subscribe, phone, account, report)
        if phone.mailbox is not None:
            report(_state(phone.mailbox, account))
        while True:
            await phone.mailbox_changed()
            if phone.mailbox is not None:
                report(_state(phone.mailbox, account))


async def _subscribe(
    phone: Phone, account: StoredAccount, report: Callable[[VoicemailState], None]
) -> None:
    """Subscribe to the mailbox; many servers have none, and refuse."""
    from spech import Mailbox

    try:
        async with phone.subscribe(account.address) as states:
            async for state in states:
                if isinstance(state, Mailbox):
                    report(_state(state, account))
    except (RequestFailed, ServerUnreachable) as error:
        _log.info("%s has no mailbox to watch: %s", account.address, error)


def _state(mailbox: Mailbox, account: StoredAccount) -> VoicemailState:
    voice = mailbox.voice
    return VoicemailState(
        mailbox.waiting, voice.new, voice.old, account.voicemail or _box_of(mailbox, account)
    )


def _box_of(mailbox: Mailbox, account: StoredAccount) -> str:
    """What the server says to call for the messages, if that is at the server itself."""
    try:
        uri = parse_address(mailbox.account or "")
    except LocalProtocolError:
        return ""
    return uri.user or "" if uri.host == account.server else ""
