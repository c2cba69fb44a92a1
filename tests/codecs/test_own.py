"""The custom codec in docs/media.md, installed as described there, in a call."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from spech import Phone, PortRange, codecs, open_phone
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import talk

from ..inside import forget_codecs

DOCUMENT = Path(__file__).parents[2] / "docs/media.md"
PORTS = PortRange(39_000, 39_039)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the package as pip does: its module and its entry points."""
    blocks = dict(re.findall(r"^```(python|toml)\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S))
    ((group, entries),) = tomllib.loads(blocks["toml"])["project"]["entry-points"].items()
    ((name, target),) = entries.items()
    (tmp_path / f"{target.partition(':')[0]}.py").write_text(blocks["python"])
    folder = tmp_path / "linear8-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: linear8\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_codecs()
    yield
    forget_codecs()


async def echo(phone: Phone) -> None:
    async for incoming in phone.incoming_calls():
        async with incoming.answer() as call:
            with call.open_audio() as port:
                async for frame in port:
                    port.send(frame)


@pytest.mark.usefixtures("installed")
async def test_the_documented_codec_works_in_a_call(autojump_clock: trio.testing.MockClock) -> None:
    assert "L8" in codecs.names()
    async with (
        open_phone(listen=("127.0.0.1", 0), ports=PORTS, codecs=["L8"]) as bob,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS, codecs=["L8;boost=6"]) as alice,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, bob)
        async with alice.call(f"sip:bob@127.0.0.1:{bob.address[1]}") as call:
            await call.answered()
            assert call.codec == "L8"
            with call.open_audio(8000) as port:
                heard = await talk(port, sine(700, 8000, 1, level=-18), 1.5)
        nursery.cancel_scope.cancel()
    # Alice sends 6 dB louder; eight bits give about 30 dB of signal-to-noise ratio for such a tone.
    assert_tone(heard[-4000:], 8000, 700, level=-12, level_tolerance=0.5, purity=0.99)
