"""The audio channel over real sockets: tickets, takeover, sound both ways, hostile input."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from numpy.typing import NDArray
from trio_websocket import WebSocketConnection

from spech.testing.certificates import self_signed
from spech.web.audio import MAX_AUDIO_MESSAGE, MAX_BAD_FRAMES
from spech.web.audio_frames import HEADER, OpusSound
from spech.web.certificate import PageCertificate

from .conftest import (
    PATIENCE,
    Exchange,
    Installation,
    Page,
    answered,
    close_code,
    connect,
    open_page,
    run_server,
)


@asynccontextmanager
async def attach(
    installation: Installation, page: Page, call: str, rate: int = 8000, *, path: bool = False
) -> AsyncIterator[WebSocketConnection]:
    """An audio connection that was accepted, on a path of the web port or on a port of its own."""
    grant = await page.ask("audio_ticket", call=call)
    assert grant["port"] == installation.serving.audio_port
    url, cookie = installation.audio_url, None
    if path:
        url, cookie = f"{installation.url}audio", installation.cookie
    async with connect(url, cookie=cookie) as connection:
        await connection.send_message(json.dumps({"ticket": grant["ticket"], "rate": rate}))
        welcome = json.loads(await connection.get_message())
        formats = ["pcm", "opus"]
        assert welcome == {
            "call": call,
            "rate": rate,
            "frame_samples": rate // 50,
            "formats": formats,
        }
        yield connection


async def code_for(installation: Installation, first: str | bytes) -> int:
    async with connect(installation.audio_url) as connection:
        await connection.send_message(first)
        return await close_code(connection)


@pytest.fixture
async def call(page: Page) -> str:
    """The id of an answered call to the echo."""
    call: str = (await page.ask("dial", target="600"))["call"]
    await page.call_in_state("answered")
    return call


def tone(rate: int, frame: int, hertz: float = 1000.0) -> bytes:
    """20 ms of a tone at -10 dBFS, as the ``frame``-th frame of it."""
    samples = np.arange(rate // 50) + frame * (rate // 50)
    wave = 0.316 * 32767 * np.sqrt(2) * np.sin(2 * np.pi * hertz * samples / rate)
    pcm: NDArray[np.int16] = wave.round().astype("<i2")
    return pcm.tobytes()


async def speak(connection: WebSocketConnection, rate: int, in_opus: int = 0) -> None:
    """Send a tone, the first ``in_opus`` frames of it in Opus."""
    sequence, start = 0, trio.current_time()
    opus = OpusSound(rate, trio.current_time)
    if in_opus:
        await connection.send_message('{"format": "opus"}')
    while True:
        if 0 < sequence == in_opus:
            await connection.send_message('{"format": "pcm"}')
        header = HEADER.pack(sequence, sequence * (rate // 50))
        sound = tone(rate, sequence)
        await connection.send_message(
            header + (opus.encode(sound) if sequence < in_opus else sound)
        )
        sequence += 1
        await trio.sleep_until(start + sequence * 0.02)


def loudest_tone(pcm: bytes, rate: int) -> tuple[float, float]:
    """The frequency in Hz that is strongest in ``pcm``, and the level of all of it in dBFS."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    frequency = np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()]
    return frequency, 20 * np.log10(np.sqrt(np.mean(samples**2)) / 32767 + 1e-9)


@pytest.mark.parametrize(("rate", "path"), [(8000, False), (16000, True), (48000, False)])
async def test_a_tone_returns_from_the_echo(
    installation: Installation, page: Page, call: str, rate: int, path: bool
) -> None:
    await hear_own_tone(installation, page, call, rate, path=path)


async def test_a_tone_returns_over_tls(
    exchange: Exchange, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page, control and sound, on one port."""
    path = tmp_path / "certificate.pem"
    path.write_bytes(b"".join(self_signed("127.0.0.1")))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    certificate = PageCertificate(path, path)
    with trio.fail_after(PATIENCE):
        async with (
            run_server(exchange, data_folder, certificate=certificate) as installation,
            open_page(installation.url) as page,
        ):
            assert installation.url.startswith("https://127.0.0.1:")
            await page.ask("save_account", **installation.settings())
            await page.registered()
            call = await answered(page, "600")
            # What is no TLS ends its own connection.
            port = int(installation.url.rstrip("/").rpartition(":")[2])
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
                with suppress(trio.BrokenResourceError):
                    while await stream.receive_some():
                        pass
            await hear_own_tone(installation, page, call, 16000, path=True)


async def hear_own_tone(
    installation: Installation, page: Page, call: str, rate: int, *, path: bool
) -> None:
    """Assert that a tone comes back from the echo, and that the meters show it."""
    wanted = pytest.approx(1000.0, abs=5.0), pytest.approx(-10.0, abs=1.5)
    heard: deque[bytes] = deque(maxlen=25)
    async with (
        attach(installation, page, call, rate, path=path) as connection,
        trio.open_nursery() as nursery,
    ):
        await page.until(lambda state: state["calls"][0]["audio_attached"])
        nursery.start_soon(speak, connection, rate)
        expected = position = 0
        # Half a second without a gap; a busy machine may need more than one attempt.
        while len(heard) < 25 or loudest_tone(b"".join(heard), rate) != wanted:
            message = await connection.get_message()
            assert isinstance(message, bytes)
            sequence, at = HEADER.unpack_from(message)
            assert len(message) == HEADER.size + 2 * (rate // 50)
            assert sequence >= expected
            assert at == position + (sequence - expected) * (rate // 50)
            expected, position = sequence + 1, at + rate // 50
            heard.append(message[HEADER.size :])
        meters = page.meters[-1][call]
        while (meters["microphone"], meters["speaker"]) != (wanted[1], wanted[1]):
            meters = (await page.metered(len(page.meters) + 1))[-1][call]
        nursery.cancel_scope.cancel()
    await page.until(lambda state: not state["calls"][0]["audio_attached"])


@pytest.mark.parametrize("rate", [8000, 48000])
async def test_a_tone_returns_in_opus_and_then_in_pcm(
    installation: Installation, page: Page, call: str, rate: int
) -> None:
    """Each side says what its frames hold from there on, and no frame is missing in between."""
    opus = OpusSound(rate, trio.current_time)
    heard: dict[str, deque[bytes]] = {}
    said: list[str] = []
    position = None
    async with (
        attach(installation, page, call, rate, path=True) as connection,
        trio.open_nursery() as nursery,
    ):
        await connection.get_message()
        nursery.start_soon(speak, connection, rate, 100)
        while len(said) < 2 or len(heard["pcm"]) < 25:
            message = await connection.get_message()
            if isinstance(message, str):
                said.append(json.loads(message)["format"])
                heard[said[-1]] = deque(maxlen=25)
                continue
            sequence, at = HEADER.unpack_from(message)
            assert at == sequence * (rate // 50)
            assert position is None or at == position
            position = at + rate // 50
            if not said:
                continue
            sound = message[HEADER.size :]
            assert len(sound) < 200 or said[-1] == "pcm"
            decoded = opus.decode(sound) if said[-1] == "opus" else sound
            assert decoded is not None
            assert len(decoded) == 2 * (rate // 50)
            heard[said[-1]].append(decoded)
        nursery.cancel_scope.cancel()
    assert said == ["opus", "pcm"]
    for frames in heard.values():
        frequency, level = loudest_tone(b"".join(frames), rate)
        assert frequency == pytest.approx(1000.0, abs=5.0)
        assert level == pytest.approx(-10.0, abs=1.5)


async def test_garbage_in_opus_ends_only_its_connection(
    installation: Installation, page: Page, call: str
) -> None:
    async with attach(installation, page, call) as connection:
        await connection.send_message('{"format": "opus"}')
        for sequence in range(MAX_BAD_FRAMES + 1):
            await connection.send_message(HEADER.pack(sequence, 0) + b"\xff" * 100)
        assert await close_code(connection) == 4400
    assert page.state["calls"][0]["state"] == "answered"
    await hear_own_tone(installation, page, call, 8000, path=True)


async def test_the_end_of_a_call_closes_its_audio_normally(
    installation: Installation, page: Page, call: str
) -> None:
    async with attach(installation, page, call) as connection:
        await page.ask("hang_up", call=call)
        assert await close_code(connection) == 1000
    assert (await page.refused("audio_ticket", call=call))["code"] == "no_such_call"


async def test_an_ended_call_has_no_audio(
    installation: Installation, page: Page, call: str
) -> None:
    ticket = (await page.ask("audio_ticket", call=call))["ticket"]
    await page.ask("hang_up", call=call)
    await page.call_in_state("ended")
    await page.ask("dismiss", call=call)
    first = json.dumps({"ticket": ticket, "rate": 8000})
    assert await code_for(installation, first) == 1000


async def test_audio_can_wait_for_an_incoming_call_to_be_answered(
    installation: Installation, page: Page
) -> None:
    exchange = installation.exchange
    assert exchange.contact is not None
    async with exchange.phone.call(exchange.contact) as outgoing:
        call = (await page.call_in_state("ringing"))["id"]
        async with attach(installation, page, call) as connection:
            await connection.send_message(HEADER.pack(0, 0) + tone(8000, 0))
            await page.ask("answer", call=call)
            await outgoing.answered(PATIENCE)
            assert isinstance(await connection.get_message(), bytes)
            outgoing.hang_up()
            assert await close_code(connection) == 1000


async def test_a_new_connection_takes_over(
    installation: Installation, page: Page, call: str
) -> None:
    async with (
        attach(installation, page, call) as first,
        attach(installation, page, call) as second,
    ):
        assert await close_code(first) == 4409
        assert isinstance(await second.get_message(), bytes)
        assert page.state["calls"][0]["audio_attached"]


async def test_a_ticket_works_once(installation: Installation, page: Page, call: str) -> None:
    ticket = (await page.ask("audio_ticket", call=call))["ticket"]
    first = json.dumps({"ticket": ticket, "rate": 8000})
    async with connect(installation.audio_url) as connection:
        await connection.send_message(first)
        await connection.get_message()
        assert await code_for(installation, first) == 4401
        assert isinstance(await connection.get_message(), bytes)


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ('{"ticket": "unknown", "rate": 8000}', 4401),
        ('{"ticket": "", "rate": 48000}', 4401),
        ('{"ticket": "unknown", "rate": 7950}', 4400),
        ('{"ticket": "unknown", "rate": 48050}', 4400),
        ('{"ticket": "unknown", "rate": 11025}', 4400),
        ('{"ticket": "unknown", "rate": "8000"}', 4400),
        ('{"ticket": "unknown"}', 4400),
        ('{"ticket": 7, "rate": 8000}', 4400),
        ('{"ticket": "unknown", "rate": 8000, "more": 1}', 4400),
        ("", 4400),
        ("nonsense", 4400),
        ("[" * 10_000, 4400),
        (b'{"ticket": "unknown", "rate": 8000}', 4400),
        (b"", 4400),
        ("x" * (MAX_AUDIO_MESSAGE + 1), 1009),
    ],
)
async def test_invalid_first_frames_are_refused(
    installation: Installation, first: str | bytes, code: int
) -> None:
    assert await code_for(installation, first) == code


async def test_a_missing_first_frame_closes_the_connection(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spech.web.audio.FIRST_FRAME_SECONDS", 0.1)
    async with connect(installation.audio_url) as connection:
        assert await close_code(connection) == 4400
    # A TCP connection that sends no request is closed as well.
    async with await trio.open_tcp_stream("127.0.0.1", installation.serving.audio_port) as stream:
        assert await stream.receive_some() == b""


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_pages_of_other_origins_are_refused(installation: Installation, origin: str) -> None:
    assert await handshake(installation, origin) == b"403"


async def test_pages_of_this_host_are_accepted(installation: Installation) -> None:
    assert await handshake(installation, "http://127.0.0.1:8080") == b"101"
    assert await handshake(installation, "http://localhost:8080") == b"101"


async def handshake(installation: Installation, origin: str) -> bytes:
    port = installation.serving.audio_port
    head = opening("/", Host=f"127.0.0.1:{port}", Origin=origin)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        return await status(stream, head)


def opening(path: str, **fields: str) -> bytes:
    """The request that opens a WebSocket."""
    fields |= {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    fields |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def status(stream: trio.SocketStream, request: bytes) -> bytes:
    """Send a request without a body, and return the status of the answer, whose body is read."""
    await stream.send_all(request)
    head = b""
    while b"\r\n\r\n" not in head:
        received = await stream.receive_some()
        assert received
        head += received
    head, _, body = head.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    while length is not None and len(body) < int(length[1]):
        body += await stream.receive_some()
    return head.split()[1]


async def test_the_path_has_the_gates_of_the_page(installation: Installation) -> None:
    host = installation.url.removeprefix("http://").rstrip("/")
    mine = {"Host": host, "Origin": f"http://{host}", "Cookie": installation.cookie}
    for wrong, wanted in [
        ({}, b"101"),
        ({"Cookie": "other=1"}, b"401"),
        ({"Origin": "http://evil.example"}, b"403"),
        ({"Host": "evil.example"}, b"421"),
        ({"Upgrade": "other"}, b"404"),
    ]:
        async with await trio.open_tcp_stream(*host_port(host)) as stream:
            request = opening("/audio", **(mine | wrong))
            if "Upgrade" in wrong:
                request = request.replace(b"Upgrade: websocket", b"Upgrade: other")
            assert await status(stream, request) == wanted, wrong


async def test_sound_follows_other_requests_on_a_connection(
    installation: Installation, page: Page, call: str
) -> None:
    """Proxies use their connections again."""
    host = installation.url.removeprefix("http://").rstrip("/")
    fields = {"Host": host, "Cookie": installation.cookie}
    ticket = (await page.ask("audio_ticket", call=call))["ticket"]
    hello = json.dumps({"ticket": ticket, "rate": 8000}).encode()
    assert len(hello) < 126
    frame = bytes((0x81, 0x80 | len(hello), 0, 0, 0, 0)) + hello
    async with await trio.open_tcp_stream(*host_port(host)) as stream:
        for _ in range(2):
            lines = ["GET /tones.json HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
            assert await status(stream, "\r\n".join([*lines, "", ""]).encode()) == b"200"
        assert await status(stream, opening("/audio", **fields)) == b"101"
        await stream.send_all(frame)
        heard = b""
        while len(heard) < 2000:
            heard += await stream.receive_some()
        assert call.encode() in heard


def host_port(netloc: str) -> tuple[str, int]:
    host, _, port = netloc.rpartition(":")
    return host, int(port)


async def test_invalid_frames_are_dropped_up_to_a_limit(
    installation: Installation, page: Page, call: str
) -> None:
    async with attach(installation, page, call) as connection:
        for _ in range(MAX_BAD_FRAMES):
            await connection.send_message(b"nonsense")
        assert isinstance(await connection.get_message(), bytes)
        await connection.send_message("nonsense")
        assert await close_code(connection) == 4400
    assert page.state["calls"][0]["state"] == "answered"


async def test_garbage_instead_of_http_ends_only_that_connection(
    installation: Installation, page: Page, call: str
) -> None:
    for port in (
        installation.serving.audio_port,
        int(installation.url.rstrip("/").rpartition(":")[2]),
    ):
        for garbage in (b"\x00" * 5000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00"):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(garbage)
                with trio.move_on_after(0.2):
                    await stream.receive_some()
    async with attach(installation, page, call) as connection:
        assert isinstance(await connection.get_message(), bytes)


async def test_a_backlog_is_dropped_and_counted(
    installation: Installation, page: Page, call: str
) -> None:
    async with attach(installation, page, call) as connection:
        for sequence in range(100):
            await connection.send_message(HEADER.pack(sequence, 0) + tone(8000, sequence))
        seen: dict[str, Any] = {}
        while not seen.get(call, {}).get("dropped"):
            seen = (await page.metered(len(page.meters) + 1))[-1]
        assert seen[call]["dropped"] >= 80
        judged = (await page.judged(lambda calls: calls[call]["trouble"]))[call]
        assert judged["trouble"] == "page"
        assert judged["page"]["microphone_loss_percent"] > 20
        assert judged["page"]["speaker_loss_percent"] == 0
        assert 0 <= judged["page"]["round_trip_ms"] < 1000


async def test_a_slow_client_misses_frames_and_sees_the_gap(
    installation: Installation, page: Page, call: str
) -> None:
    async with attach(installation, page, call, 48000) as connection:
        seen: dict[str, Any] = {}
        while not seen.get(call, {}).get("dropped"):
            seen = (await page.metered(len(page.meters) + 1))[-1]
        sequences = []
        while len(sequences) < 2 or sequences[-1] == sequences[-2] + 1:
            message = await connection.get_message()
            assert isinstance(message, bytes)
            sequence, position = HEADER.unpack_from(message)
            assert position == sequence * 960
            sequences.append(sequence)


async def test_the_media_clock_writes_the_frames(
    installation: Installation, page: Page, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WebSocket library sees the handshake and the close, but no frame of sound."""
    through_library: list[object] = []
    send_message = WebSocketConnection.send_message

    async def noted(connection: WebSocketConnection, message: str | bytes) -> None:
        through_library.append(message)
        await send_message(connection, message)

    monkeypatch.setattr(WebSocketConnection, "send_message", noted)
    async with attach(installation, page, call) as connection:
        received = [await connection.get_message() for _ in range(10)]
    assert all(len(frame) > HEADER.size for frame in received)
    assert through_library
    assert not [message for message in through_library if isinstance(message, bytes)]
