"""The lamps of favourites follow what a real PBX tells."""

from __future__ import annotations

from pathlib import Path

import trio

import spech
from spech.testing.asterisk import Asterisk
from spech.testing.dialplan import PASSWORD
from spech.web.line import PhoneSettings
from spech.web.messages.contacts import Contact, LabelledNumber
from spech.web.store import Settings, Store, StoredAccount
from spech.web.switchboard import Switchboard, open_switchboard
from spech.web.vault import Vault


async def lit(switchboard: Switchboard, *lamps: str | None) -> None:
    """Wait until the lamps of the favourites are these."""
    with trio.fail_after(10):
        while True:
            change = switchboard.change
            if tuple(each.lamp for each in switchboard.state.contacts.favourites) == lamps:
                return
            await change.wait()


async def test_a_favourite_that_talks_is_busy(
    asterisk: Asterisk, ports: spech.PortRange, tmp_path: Path
) -> None:
    """Extension 700 has the hint PJSIP/bob; 799 has none."""
    store = Store(Vault(tmp_path))
    account = StoredAccount(
        id="a1",
        server=asterisk.host,
        port=asterisk.port,
        transport="udp",
        user="alice",
        password=PASSWORD,
        codecs=("PCMU",),
    )
    store.save(Settings(accounts=(account,)))
    async with (
        spech.open_phone(asterisk.account("bob"), listen=("127.0.0.1", 0), ports=ports) as phone,
        open_switchboard(store, phones=PhoneSettings(("127.0.0.1", 0))) as switchboard,
    ):
        await phone.registered(timeout=10)
        for name, number in (("Bob", "700"), ("Nobody", "799"), ("Shop", "+49 30 1234567")):
            contact = Contact(
                id="",
                name=name,
                numbers=(LabelledNumber(number, ""),),
                favourite=True,
                note="",
                shared=False,
            )
            await switchboard.contacts.save(contact)
        await lit(switchboard, "free", None, None)
        async with phone.call("608") as call:
            await call.answered(timeout=5)
            await lit(switchboard, "busy", None, None)
        await lit(switchboard, "free", None, None)
        (first, *_) = switchboard.contacts.directory
        await switchboard.contacts.forget(first.id)
        await lit(switchboard, None, None)
