"""Wrong options are rejected before the first packet, with a helpful message."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spech.cli import main
from spech.cli.call import Order
from spech.cli.plan import Plan
from spech.cli.telling import CallResult

TARGET = "sip:600@127.0.0.1:9"


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Records the plans of `spech call` instead of placing calls."""
    plans: list[Plan] = []

    async def place(order: Order, plan: Plan, outcome: CallResult, output: object) -> None:
        plans.append(plan)

    # The name spech.cli.call is the command, not its module.
    monkeypatch.setattr(sys.modules["spech.cli.call"], "place", place)
    return plans


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--record", "x.mp3"], ".wav"),
        (["--record", "nowhere/x.wav"], "the folder nowhere does not exist"),
        (["--trace", "nowhere/x.pcap"], "the folder nowhere does not exist"),
        (["--record", f"{'x' * 300}.wav"], "cannot be written: File name too long"),
        (["--trace", "/proc/x.pcap"], "/proc/x.pcap cannot be written: No such file"),
        (["--stereo"], "needs --record FILE"),
        (["--codec", "PCMU", "--codec", "nonsense"], "nonsense"),
        (["--stun", "example.org"], "stun:host"),
        (["--dtmf", "x"], "the keys are 0-9"),
        (["--tone", "nonsense"], "ringback"),
        (["--account", "alice"], "'alice' is neither a SIP address"),
        (["--header", "X-Customer"], "is not NAME=VALUE"),
        (["--header", "Via=x"], "the header field Via cannot be set"),
        (["--caller", "<<"], "'<<' is not a SIP address"),
        (["--caller", ""], "'' is neither a number nor a name"),
        (["--play", __file__], "cannot open"),
    ],
)
def test_a_wrong_option_is_rejected_before_the_call(
    plans: list[Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["call", TARGET, *arguments])
    assert result.exit_code == 2
    assert says in result.output
    assert plans == []
    assert list(tmp_path.iterdir()) == []


def test_the_codec_option_may_be_repeated(plans: list[Plan]) -> None:
    CliRunner().invoke(main, ["call", TARGET, "--codec", "PCMA,G722", "--codec", "PCMU"])
    assert plans[0].codecs == ("PCMA", "G722", "PCMU")


@pytest.mark.parametrize(("arguments", "ice"), [(["--ice"], True), ([], None)])
def test_ice_can_be_offered_without_a_stun_server(
    plans: list[Plan], arguments: list[str], ice: bool | None
) -> None:
    CliRunner().invoke(main, ["call", TARGET, *arguments])
    assert plans[0].ice is ice


@pytest.mark.parametrize("entry", ["a b", "192.0.2.0/33"])
@pytest.mark.parametrize("command", ["serve", "bridge"])
def test_an_invalid_allowed_caller_is_rejected(command: str, entry: str) -> None:
    more = ["--websocket", "ws://127.0.0.1:9/", "--listen", "127.0.0.1:0"]
    arguments = [command, "--allow", entry, *(more if command == "bridge" else ())]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "neither an address, a network nor a host name" in result.output
