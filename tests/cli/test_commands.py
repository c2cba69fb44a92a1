"""The commands as processes: output, exit statuses, signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import wave
from pathlib import Path

import numpy as np
import pytest
import trio
from click.testing import CliRunner

from spech.cli import main
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse
from spech.testing.audio import assert_tone, read_wav, sine, sounding, write_wav
from spech.testing.waiting import until

from .program import account, events_of, exchange_is_open, outcome_of, running, spech


async def test_call_records_received_sound(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    async with exchange_is_open() as exchange:
        result = await spech(
            "call", "601", *account(exchange), "--duration", "1.5", "--record", str(heard), "--json"
        )
    outcome = outcome_of(result)
    assert result.returncode == 0
    assert (outcome["answered"], outcome["status"], outcome["codec"]) == (True, 200, "PCMU")
    assert outcome["ended_by"] == "local"
    assert outcome["rtp"]["received"] > 40
    assert 4.2 < outcome["quality"]["mos"] < 4.42
    assert outcome["quality"]["loss_percent"] == 0.0
    sound, rate = read_wav(heard)
    assert_tone(sounding(sound, rate)[1600:-400], rate, 440)


async def test_call_plays_a_file_and_hangs_up_after_it(tmp_path: Path) -> None:
    said, heard = tmp_path / "said.wav", tmp_path / "heard.wav"
    write_wav(said, sine(700, 16000, 1.0), 16000)
    async with exchange_is_open() as exchange:
        result = await spech(
            "call", "600", *account(exchange), "--play", str(said), "--record", str(heard), "--json"
        )
    outcome = outcome_of(result)
    assert result.returncode == 0
    assert outcome["duration_s"] >= 1.0
    sound, rate = read_wav(heard)
    assert_tone(sounding(sound, rate)[2400:6400], rate, 700)


async def test_call_plays_a_tone_and_records_in_stereo(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    async with exchange_is_open() as exchange:
        result = await spech(
            *("call", "601", *account(exchange), "--duration", "1.5", "--tone", "fr/busy"),
            *("--record", str(heard), "--stereo", "--json"),
        )
    assert result.returncode == 0, result.stderr
    with wave.open(str(heard)) as file:
        rate = file.getframerate()
        assert (file.getnchannels(), rate) == (2, 8000)
        left, right = np.frombuffer(file.readframes(-1), "<i2").reshape(-1, 2).T
    assert_tone(sounding(left, rate)[: rate // 2 - 400], rate, 440)
    assert_tone(sounding(right, rate)[1600:-400], rate, 440)
    # Half a second of tone and half a second of silence.
    assert np.abs(sounding(left, rate)[5000:7600]).max() < 200


async def test_call_sends_digits_and_reports_received_ones(tmp_path: Path) -> None:
    async with exchange_is_open() as exchange:
        result = await spech(
            "call", "602", *account(exchange), "--dtmf", "1a#", "--duration", "3", "--json"
        )
    assert outcome_of(result)["dtmf_received"] == "1A#"


async def test_quiet_json_is_the_result_alone() -> None:
    async with exchange_is_open() as exchange:
        result = await spech("call", "600", *account(exchange), "--duration", "0", "--json", "-q")
    assert [event["event"] for event in events_of(result.stdout)] == ["ended"]


async def test_call_offers_the_requested_codecs() -> None:
    async with exchange_is_open() as exchange:
        result = await spech(
            "call",
            "600",
            *account(exchange),
            "--codec",
            "l16;ptime=40, PCMA",
            "--duration",
            "0.2",
            "--json",
        )
    assert outcome_of(result)["codec"] == "L16/16000"


@pytest.mark.parametrize(("policy", "how"), [("off", None), ("sdes", "SDES"), ("dtls", "DTLS")])
async def test_call_uses_the_requested_encryption(
    tmp_path: Path, policy: str, how: str | None
) -> None:
    heard = tmp_path / "heard.wav"
    options = ("--encryption", policy, "--duration", "1.5", "--record", str(heard), "--json")
    async with exchange_is_open() as exchange:
        result = await spech("call", "601", *account(exchange), *options)
    assert outcome_of(result)["encrypted"] == how
    sound, rate = read_wav(heard)
    assert_tone(sounding(sound, rate)[1600:-400], rate, 440)


async def test_call_prints_progress_for_people() -> None:
    async with exchange_is_open() as exchange:
        result = await spech("call", "600", *account(exchange), "--duration", "0.2")
    lines = result.stdout.decode().splitlines()
    assert lines[0].startswith("registered as sip:alice@127.0.0.1")
    assert lines[-3] == "600: answered, PCMU"
    assert lines[-2].startswith("ended after 0.2 s, we hung up; PCMU, packets sent ")
    assert lines[-1].startswith("loss 0.0 %, concealed 0.00 s, jitter ")


async def test_an_unanswered_call_exits_with_status_1() -> None:
    async with exchange_is_open() as exchange:
        result = await spech("call", "699", *account(exchange), "--json")
    assert result.returncode == 1
    outcome = outcome_of(result)
    assert (outcome["answered"], outcome["status"]) == (False, 404)
    assert (outcome["reason"], outcome["ended_by"]) == ("Not Found", "remote")
    assert "Not answered: 404 Not Found" in result.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("tones",),
        ("codecs", "--json"),
        ("exchange", "--listen", "127.0.0.1:0"),
        ("call", "601", "--json"),
        ("call", "601", "--duration", "1", "--record", "-"),
        ("call", "601", "--duration", "1", "--quiet", "--trace", "/dev/full"),
        ("register",),
    ],
    ids=" ".join,
)
async def test_output_that_cannot_be_written_is_an_error(arguments: tuple[str, ...]) -> None:
    async with exchange_is_open() as exchange:
        if arguments[0] in ("call", "register"):
            arguments = (*arguments, *account(exchange))
        full = os.open("/dev/full", os.O_WRONLY)
        result = await spech(*arguments, stdout=full)
        os.close(full)
    assert result.returncode == 1
    *_, last = result.stderr.decode().splitlines()
    assert re.fullmatch("error: (standard output: |/dev/full: )?No space left on device", last)
    assert b"Traceback" not in result.stderr


async def test_a_recording_that_ends_early_is_an_error(tmp_path: Path) -> None:
    both = str(tmp_path / "both.wav")
    async with exchange_is_open() as exchange:
        result = await spech(
            *("call", "601", *account(exchange), "--duration", "4", "--record", both, "--json"),
            largest_file=40,
        )
    assert result.returncode == 1
    assert outcome_of(result)["duration_s"] >= 4.0
    assert f"error: recording to {both} ended: File too large" in result.stderr.decode()


async def test_a_reader_who_leaves_ends_a_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = await spech("tones", stdout=writing)
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, b"")


async def test_a_wrong_password_exits_with_status_3() -> None:
    async with exchange_is_open() as exchange:
        result = await spech("call", "600", *account(exchange), "--json", password="guess")
    assert result.returncode == 3
    assert outcome_of(result)["status"] == 403
    assert "SPECH_SIP_PASSWORD" in result.stderr.decode()


async def test_a_silent_server_exits_with_status_3() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"sip:alice@127.0.0.1:{silent.getsockname()[1]}"
        result = await spech("call", "600", "--account", address, "--json")
    assert result.returncode == 3
    assert outcome_of(result)["answered"] is False
    assert "did not answer" in result.stderr.decode()


async def test_a_closed_port_exits_with_status_3() -> None:
    result = await spech("call", "sip:bob@127.0.0.1:9", "--json")
    assert result.returncode == 3
    assert result.stderr == b"error: The server does not answer.\n"


async def test_an_unknown_host_exits_with_status_3() -> None:
    result = await spech("call", "600", "--account", "sip:alice@nowhere.invalid")
    assert result.returncode == 3
    assert "nowhere.invalid" in result.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("call",),
        ("call", "600"),
        ("call", "600", "--account", "alice"),
        ("call", "600", "--account", "sip:alice@127.0.0.1", "--dtmf", "12x"),
        ("call", "600", "--account", "sip:alice@127.0.0.1", "--codec", "PCMU,MP3"),
        ("call", "600", "--account", "sip:alice@127.0.0.1", "--play", "no-such-file.wav"),
        ("call", "600", "--account", "sip:alice@127.0.0.1", "--play", __file__),
        ("call", "600", "--account", "sip:alice@127.0.0.1", "--tone", "de/melody"),
        ("call", "600", "--account", "sip:alice@127.0.0.1", "--tone", "xx/busy"),
        ("bridge", "--websocket", "ws://127.0.0.1/"),
        ("bridge", "--websocket", "http://127.0.0.1/", "--listen", "127.0.0.1:0"),
        ("bridge", "--websocket", "ws://127.0.0.1/", "--listen", "127.0.0.1"),
        ("bridge", "--websocket", "ws://127.0.0.1/", "--listen", "127.0.0.1:0", "--rate", "8001"),
        ("bridge", "--listen", "127.0.0.1:0"),
        ("bridge", "--routes", __file__, "--listen", "127.0.0.1:0"),
        ("bridge", "--websocket", "ws://127.0.0.1/", "--listen", "127.0.0.1:0", "--ca", __file__),
        (*("bridge", "--websocket", "ws://a/", "--listen", "127.0.0.1:0"), "--api", "0.0.0.0:0"),
        (*("bridge", "--websocket", "ws://a/", "--listen", "127.0.0.1:0"), "--originate", "("),
        (*("bridge", "--websocket", "ws://a/", "--listen", "127.0.0.1:0"), "--sounds", "/"),
        (
            *("bridge", "--websocket", "ws://a/", "--listen", "127.0.0.1:0"),
            "--keep-recordings",
            "1",
        ),
        (*("bridge", "--websocket", "ws://a/", "--listen", "127.0.0.1:0"), "--webhook", "ws://a/"),
        ("bridge", "--answer-url", "ftp://127.0.0.1/", "--listen", "127.0.0.1:0"),
        (
            *("bridge", "--answer-url", "http://127.0.0.1/", "--listen", "127.0.0.1:0"),
            *("--protocol", "raw"),
        ),
        ("serve", "--port", "many"),
    ],
)
def test_wrong_usage_exits_with_status_2(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stdout == ""


def test_a_bot_whose_protocol_cannot_answer_is_not_left_to_answer() -> None:
    arguments = ["bridge", "--websocket", "tcp://127.0.0.1:9", "--listen", "127.0.0.1:0"]
    result = CliRunner().invoke(main, [*arguments, "--protocol", "audiosocket", "--bot-answers"])
    assert result.exit_code == 2
    assert "audiosocket has no message for that" in " ".join(result.stderr.split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_hangs_up(number: signal.Signals) -> None:
    async with (
        exchange_is_open() as exchange,
        running("call", "600", *account(exchange)) as program,
    ):
        await program.says("600: answered")
        assert len(exchange.phone.active_calls) == 1
        assert await program.stop(number) == 0
        await until(lambda: not exchange.phone.active_calls)
        await program.says("we hung up")


async def test_a_second_signal_ends_the_process_at_once() -> None:
    """The far end rings and then stops responding, so our farewell gets no response."""
    with trio.socket.socket(type=socket.SOCK_DGRAM) as far:
        await far.bind(("127.0.0.1", 0))
        target = f"sip:nobody@127.0.0.1:{far.getsockname()[1]}"
        async with running("call", target) as program:
            data, source = await far.recvfrom(65535)
            invite = parse(data)
            assert isinstance(invite, Request)
            await far.sendto(bytes(response_to(invite, 180, to_tag="dead")), source)
            await program.says("ringing")
            program.process.send_signal(signal.SIGINT)
            while not data.startswith(b"CANCEL"):
                data, _ = await far.recvfrom(65535)
            assert await program.stop(signal.SIGINT) == -signal.SIGINT


async def test_the_demo_is_ready_to_dial() -> None:
    ports = ("--port", "0", "--audio-port", "0")
    async with running("demo", *ports, "--password", "looking-glass") as program:
        await program.says("Ctrl-C ends the demo")
        found = re.search(
            r"PASSWORD=(looking-glass) .*?spech call alice --account sip:bob@127\.0\.0\.1:(\d+)",
            program.said,
        )
        page = re.search(r"http://127\.0\.0\.1:(\d+)/#link=[\w-]{43}\s", program.said)
        assert found is not None
        assert page is not None
        stream = await trio.open_tcp_stream("127.0.0.1", int(page[1]))
        async with stream:
            await stream.send_all(
                f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{page[1]}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = b"".join([part async for part in stream])
        assert answer.startswith(b"HTTP/1.1 200")
        bob = ["--account", f"sip:bob@127.0.0.1:{found[2]}"]
        result = await spech("call", "600", *bob, "--duration", "0.2", "--json", password=found[1])
        assert outcome_of(result)["answered"]
        # The page's account is registered, so its phone rings.
        result = await spech("call", "alice", *bob, "--timeout", "1", "--json", password=found[1])
        assert outcome_of(result)["status"] == 408
        assert "ringing" in [event["event"] for event in events_of(result.stdout)]
        assert await program.stop(signal.SIGTERM) == 0


async def test_the_demo_tells_programs_where_it_is() -> None:
    ports = ("--port", "0", "--audio-port", "0")
    async with running("demo", *ports, "--json") as program:
        await program.says("}\n")
        (event,) = events_of(program.said)
        made = await spech("link", "--data", event["data"], "--json")
        assert await program.stop(signal.SIGTERM) == 0
    assert event["event"] == "serving"
    assert set(event["users"]) == {"alice", "bob"}
    assert len(set(event["users"].values())) == 2
    (link,) = events_of(made.stdout)
    page, _, _ = event["url"].partition("#")
    assert link["url"].startswith(f"{page}#link=")
    assert link["url"] != event["url"]


async def test_a_link_to_sign_in_is_printed_to_terminals_only(tmp_path: Path) -> None:
    ports = ("--port", "0", "--audio-port", "0", "--data", str(tmp_path))
    async with running("serve", *ports) as program:
        await program.says("The phone is at http://127.0.0.1:")
        made = await spech("link", "--data", str(tmp_path))
        assert re.fullmatch(rb"http://127\.0\.0\.1:\d+/#link=[\w-]{43}\n", made.stdout)
        assert "link=" not in program.said
        assert await program.stop(signal.SIGTERM) == 0
    made = await spech("link", "--data", str(tmp_path))
    assert made.returncode == 1
    assert b"spech serve" in made.stderr


@pytest.mark.parametrize("option", ["--port", "--audio-port"])
@pytest.mark.parametrize("name", ["serve", "demo"])
def test_a_port_in_use_is_reported(name: str, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--port": "0", "--audio-port": "0", option: port}
        result = CliRunner().invoke(
            main, [name, *(word for pair in ports.items() for word in pair)]
        )
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert f"Port {port} on 127.0.0.1 is in use" in said
    assert f"choose another port with {option} " in said


async def test_a_bridge_that_cannot_register_exits_with_status_3() -> None:
    async with exchange_is_open() as exchange:
        result = await spech(
            "bridge", "--websocket", "ws://127.0.0.1:9/", *account(exchange), password="guess"
        )
    assert result.returncode == 3


@pytest.mark.parametrize("command", [("call", "600"), ("answer",)])
async def test_a_registration_that_fails_is_traced(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    file = tmp_path / "call.pcap"
    async with exchange_is_open() as exchange:
        result = await spech(*command, *account(exchange), "--trace", str(file), password="guess")
    assert result.returncode == 3
    shown = (await spech("trace", str(file))).stdout.decode()
    assert "REGISTER sip:127.0.0.1" in shown
    assert "403 Forbidden (REGISTER)" in shown
    assert b"guess" not in file.read_bytes()


async def test_a_bridge_accepts_calls_for_its_account() -> None:
    async with (
        exchange_is_open() as exchange,
        running("bridge", "--websocket", "ws://127.0.0.1:9/", *account(exchange)) as program,
    ):
        await program.says("taking calls at ")
        result = await spech("call", "alice", *account(exchange), "--no-register", "--json")
        assert outcome_of(result)["status"] == 503
        await program.says("alice -> alice: rejected with 503: no WebSocket at ws://127.0.0.1:9/")
        assert await program.stop(signal.SIGTERM) == 0


def test_tones_are_listed() -> None:
    result = CliRunner().invoke(main, ["tones"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert re.search(r"de +Germany +425/1000", result.stdout)


def test_codecs_are_listed() -> None:
    result = CliRunner().invoke(main, ["codecs"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert re.search(r"PCMU +8000 Hz +64 kbit/s +built in", result.stdout)
    assert re.search(r"GSM +8000 Hz +13.2 kbit/s +libgsm", result.stdout)
