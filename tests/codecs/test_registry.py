"""Codecs of other packages, and missing libraries."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from spech import codecs
from spech.codecs import BaseCodec, CodecInfo, CodecMaker, Samples
from spech.codecs.library import Library, LibraryState
from spech.errors import CodecUnavailable

from ..inside import forget_codecs

Install = Callable[..., None]


class Quiet(BaseCodec):
    """Half as loud, in 16 bits."""

    def __init__(self) -> None:
        super().__init__("quiet", 16000)

    def encode(self, pcm: Samples) -> bytes:
        return (pcm // 2).tobytes()

    def decode(self, payload: bytes) -> Samples:
        return np.frombuffer(payload, np.int16)


QUIET = CodecMaker(CodecInfo("quiet", 16000, 256000, available=True), Quiet)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package whose entry points name these objects."""

    def install(**named: object) -> None:
        module = types.ModuleType("someones_codecs")
        for name, value in named.items():
            setattr(module, name, value)
        monkeypatch.setitem(sys.modules, "someones_codecs", module)
        entries = [
            EntryPoint(name, f"someones_codecs:{name}", codecs.ENTRY_POINTS)
            for name in [*named, "gone"]
        ]
        monkeypatch.setattr(
            importlib.metadata,
            "entry_points",
            lambda *, group: [entry for entry in entries if entry.group == group],
        )
        forget_codecs()

    yield install
    forget_codecs()


def test_a_codec_from_another_package_is_registered(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    lacking = CodecMaker(CodecInfo("lacking", 8000, 8000, False, "liblacking1"), Quiet)
    install(MAKER=QUIET, MAKERS=[lacking])
    assert codecs.names()[-1] == "quiet"
    assert codecs.describe()[-1] == lacking.info
    made = codecs.create("Quiet")
    assert made.encode(np.array([200], np.int16)) == b"\x64\0"
    # Missing attributes have their defaults.
    assert (made.encoding, made.clock_rate, made.payload_type) == ("quiet", 16000, None)
    assert made.packet_samples(20) == 320
    assert not made.conceal(320).any()
    assert not made.recover(b"", 320).any()
    assert codecs.impairment("Quiet") == codecs.Impairment(10.0, 10.0, "wideband")
    with pytest.raises(CodecUnavailable, match="liblacking1"):
        codecs.create("lacking")
    # A codec that cannot be loaded is reported, and does not affect others.
    assert "someones_codecs:gone" in caplog.text


def test_settings_follow_a_name(install: Install) -> None:
    class Loud(Quiet):
        def __init__(self, gain: int = 1) -> None:
            super().__init__()
            self.gain = gain

    info = CodecInfo("loud", 16000, 256000, available=True)
    install(MAKER=CodecMaker(info, Loud, {"gain": range(1, 11)}))
    assert codecs.create("loud").gain == 1  # type: ignore[attr-defined]
    made = codecs.create(" Loud ; Gain = 7 ;ptime=40")
    assert (made.name, made.ptime_ms) == ("quiet", 40)
    assert made.gain == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("PCMU;bitrate=64000", "PCMU has no setting 'bitrate', only ptime"),
        ("opus;bitrate=64000;gain=1", "no setting 'gain', only bitrate and complexity and ptime"),
        ("opus;bitrate=5999", "bitrate of opus is a number from 6000 to 510000, not '5999'"),
        ("opus;complexity=11", "complexity of opus is a number from 0 to 10, not '11'"),
        ("PCMU;ptime=201", "ptime of PCMU is a number from 10 to 200, not '201'"),
        ("PCMU;ptime=9", "not '9'"),
        ("PCMU;ptime", "not ''"),
        ("PCMU;ptime=²0", "not '²0'"),
        ("PCMU;ptime=+20", r"not '\+20'"),
        ("PCMU;ptime=" + "9" * 5000, "not '999"),
        ("PCMU;", "no setting ''"),
        (";ptime=20", "unknown codec"),
    ],
)
def test_invalid_settings_are_refused(name: str, fault: str) -> None:
    with pytest.raises(CodecUnavailable, match=fault):
        codecs.create(name)


def test_a_registered_codec_cannot_be_replaced(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(MAKER=CodecMaker(CodecInfo("pcmu", 8000, 64000, available=True), Quiet))
    assert not isinstance(codecs.create("PCMU"), Quiet)
    assert "which is there already" in caplog.text


def test_a_codec_without_its_library_is_unavailable() -> None:
    library = Library("no-such-codec", 7, "libno-such-codec7")
    assert not library.available
    with pytest.raises(CodecUnavailable, match="libno-such-codec7"):
        library.function("make", None)()


def test_library_state_is_freed_with_its_owner() -> None:
    freed: list[int] = []
    state = LibraryState(4711, freed.append)
    assert state.pointer == 4711
    del state
    assert freed == [4711]
    with pytest.raises(MemoryError):
        LibraryState(None, freed.append)


PROGRAM = """
import ctypes, ctypes.util, json
ctypes.util.find_library = lambda name: None
class Missing:
    def __init__(self, name, *more):
        raise OSError(name)
ctypes.CDLL = Missing
import spech
from spech import codecs
print(json.dumps([[info.name, info.available, info.package] for info in codecs.describe()]))
"""


def test_built_in_codecs_work_without_any_library() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True)
    found = {name: (available, package) for name, available, package in json.loads(done.stdout)}
    missing = {name: package for name, (available, package) in found.items() if not available}
    assert missing == {
        "opus": "libopus0",
        "G729": "libbcg729-0",
        "GSM": "libgsm1",
        "speex/8000": "libspeex1",
        "speex/16000": "libspeex1",
        "speex/32000": "libspeex1",
    }
    assert found["PCMU"] == found["G722"] == (True, None)
