"""An echo bot inside a library: Spech, agent-transport (Rust) and PJSIP, each from Python.

Each bot registers with the same Asterisk, answers the calls that Asterisk passes on, and sends the
sound back; each packet passes through the bot's Python program. Measured is the bot's process.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench import plot, programs, servers
from bench.load import Load
from bench.machine import watching
from bench.parts import Part, Scale, Side, cpu_per_call
from bench.parts.bridge import SETTLE
from bench.results import Figures, Values
from bench.tables import sides_table
from spech.testing.asterisk import Asterisk, AsteriskUnavailable, find

_LEVELS: Final = (4, 30)
#: The build of PJSIP on PyPI carries no more calls.
_FEW: Final = 4
_EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "echo_bot.py"
_DIALPLAN: Final = """
[phones]
exten = bot,1,Dial(PJSIP/alice)
"""


#: Where Asterisk listens as well: agent-transport knows no other port than 5060.
_USUAL: Final = "127.0.0.5"
_TRANSPORTS: Final = "".join(
    f"[usual-{protocol}]\ntype = transport\nprotocol = {protocol}\nbind = {_USUAL}:5060\n\n"
    for protocol in ("udp", "tcp")
)


@dataclass(frozen=True)
class _Bot:
    command: list[str]
    build: servers.Build
    most: int = _LEVELS[-1]
    usual_port: bool = False

    @contextmanager
    def registered(self) -> Iterator[servers.Server]:
        """The bot, and the Asterisk that passes calls on to it."""
        with Asterisk(dialplan=_DIALPLAN, files={"pjsip.conf": _TRANSPORTS}) as pbx:
            account = pbx.account("alice")
            environment = {
                **self.build,
                "SPECH_ACCOUNT": f"sip:alice@{_USUAL}" if self.usual_port else account.address,
                "SPECH_SIP_PASSWORD": account.password or "",
            }
            with servers.program(self.command, environment, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                while not (line := process.stdout.readline()).startswith(b"registered"):
                    if not line:
                        raise RuntimeError(f"{self.command[-1]} did not register")
                yield servers.Server("bot", pbx.domain, process.pid, "bot", "bot")


def _turn(bot: _Bot, scale: Scale) -> Iterator[tuple[str, Values]]:
    with bot.registered() as server, Load() as load:
        for calls in _LEVELS:
            if calls > min(bot.most, scale.calls):
                break
            load.call(server, server.bridged, calls - load.calls)
            time.sleep(SETTLE)
            with watching(server.process) as window:
                heard = load.hear(scale.seconds)
            sound = {"p99": heard.p99, "lost": heard.lost}
            yield f"{calls} calls", {**cpu_per_call(window, calls), **sound}
        load.hang_up()


def _sides() -> Mapping[str, Side]:
    try:
        find()
    except AsteriskUnavailable:
        return {}
    bots = {
        name: _Bot([sys.executable, str(_EXAMPLE)], build)
        for name, build in servers.builds().items()
    }
    if interpreter := programs.interpreter("bench"):
        script = str(programs.HERE / "agent_transport_bot.py")
        bots["agent-transport"] = _Bot([str(interpreter), script], {}, usual_port=True)
    if interpreter := programs.interpreter("pjsip"):
        script = str(programs.HERE / "pjsua_bot.py")
        bots["PJSIP"] = _Bot([str(interpreter), script], {}, most=_FEW)
    return {name: partial(_turn, bot) for name, bot in bots.items()}


def _text(figures: Figures) -> str:
    cost = sides_table(figures, "bot with", "cpu", "CPU per second and call, ms")
    pacing = sides_table(figures, "bot with", "p99", "RTP off its grid, 99th percentile, ms")
    memory = sides_table(figures, "bot with", "memory", "Memory, MB", digits=0)
    return f"{cost}\n![CPU per second and call](pictures/bench-library.svg)\n\n{pacing}\n{memory}"


def _plots(figures: Figures) -> Mapping[str, str]:
    return {"library": plot.rows(figures, "cpu", "CPU per second and call (ms)")}


PART: Final = Part("library", "bots inside a library", 11, _sides, _text, _plots)
