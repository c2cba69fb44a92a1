"""The office as a PBX of its own: the configuration of this folder on a free port of loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from spech import Phone, open_phone
from spech.testing.asterisk import Asterisk

HERE = Path(__file__).parent
FILES = ("extensions.conf", "musiconhold.conf", "queues.conf", "voicemail.conf")
MODULES = ("app_queue", "app_voicemail", "res_musiconhold")
HOLD_MUSIC = "/var/lib/asterisk/music"

#: Numbers that set the clock of the call before they dial 100.
CLOCKS = """
[phones](+)
exten = 7100,1,Set(TESTTIME()=2026/03/03 10:00:00)
 same = n,Goto(100,1)
exten = 8100,1,Set(TESTTIME()=2026/03/07 10:00:00)
 same = n,Goto(100,1)
"""


@pytest.fixture(scope="session")
def office() -> Iterator[Asterisk]:
    """A running Asterisk with this configuration, for all tests."""
    texts = {name: (HERE / name).read_text() for name in FILES}
    texts["extensions.conf"] += CLOCKS
    with Asterisk(replace=texts, modules=MODULES) as pbx:
        pbx.command(f"dialplan set global PROMPTS {pbx.share('prompts', HERE / 'prompts')}")
        music = texts["musiconhold.conf"].replace(HOLD_MUSIC, pbx.share("music", HERE / "music"))
        pbx.share("musiconhold.conf", music.encode())
        pbx.command("moh reload")
        yield pbx


@pytest.fixture(autouse=True)
def nothing_left(office: Asterisk) -> Iterator[None]:
    """Fail if a test leaves a channel of the PBX."""
    yield
    office.await_channels(0)


@pytest.fixture
async def alice(office: Asterisk) -> AsyncIterator[Phone]:
    """The phone of a caller."""
    async with open_phone(office.account("alice"), listen=("127.0.0.1", 0)) as phone:
        yield phone


@pytest.fixture
async def bob(office: Asterisk) -> AsyncIterator[Phone]:
    """The phone of a colleague in the office."""
    async with open_phone(office.account("bob"), listen=("127.0.0.1", 0)) as phone:
        await phone.registered(timeout=5)
        yield phone
