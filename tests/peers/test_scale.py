"""Kamailio in front of several bridges, with the configuration of docs/scale."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from spech import Call, Phone, PortRange, RequestFailed, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import sine
from spech.testing.dialplan import PASSWORD
from spech.testing.plugin import unavailable
from spech.testing.talk import hear_tone
from spech.testing.waiting import until

from .. import ports
from . import kamailio

SCALE = Path(__file__).parents[2] / "docs" / "scale"
KAMAILIO = ports.reserve()
NODES = [ports.reserve() for _ in range(4)]
PORTS = PortRange(38_300, 38_399)
RATE = 8000


class Cluster:
    """Kamailio, the bots, and the nodes that run."""

    def __init__(self, directory: Path, bots: int) -> None:
        self._directory = directory
        self._bots = bots
        self.nodes: dict[int, trio.Process] = {}
        #: The calls that each node's bots have.
        self.calls: Counter[int] = Counter()
        self.write_nodes(3)

    def write_nodes(self, count: int) -> None:
        lines = (SCALE / "nodes.list").read_text().splitlines()
        comment, *nodes = lines
        nodes += [nodes[-1].replace("13", "14").replace("node3", "node4")]
        for number, port in enumerate(NODES, 1):
            before = f"10.0.0.1{number}:5060"
            assert before in nodes[number - 1]
            nodes[number - 1] = nodes[number - 1].replace(before, f"127.0.0.1:{port}")
        (self._directory / "nodes.list").write_text("\n".join([comment, *nodes[:count], ""]))

    async def start(self, nursery: trio.Nursery, number: int) -> None:
        """Start a node, and wait until it answers."""
        command = [sys.executable, "-m", "spech", "bridge", "--drain", "120", "--rate", str(RATE)]
        command += ["--listen", f"127.0.0.1:{NODES[number - 1]}"]
        command += ["--websocket", f"ws://127.0.0.1:{self._bots}/{number}"]
        self.nodes[number] = await nursery.start(
            partial(
                trio.run_process,
                command,
                check=False,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"XDG_DATA_HOME": str(self._directory)},
            )
        )
        target = f"sip:127.0.0.1:{NODES[number - 1]}"
        async with open_phone(listen=("127.0.0.1", 0)) as phone:
            with trio.fail_after(30):
                while True:
                    with suppress(RequestFailed):
                        await phone.options(target)
                        return
                    await trio.sleep(0.2)

    async def serve(self, request: WebSocketRequest) -> None:
        """A bot that sends back what it hears."""
        number = int(request.path.strip("/"))
        connection = await request.accept()
        self.calls[number] += 1
        try:
            while True:
                message = await connection.get_message()
                if isinstance(message, bytes):
                    await connection.send_message(message)
        except ConnectionClosed:
            self.calls[number] -= 1

    async def command(self, *words: str) -> str:
        control = f"unixs:{self._directory}/control"
        done = await trio.run_process(["kamcmd", "-s", control, *words], capture_stdout=True)
        return done.stdout.decode()

    async def states(self) -> dict[int, str]:
        """How Kamailio sees each node: AP where it is active and probed."""
        lines = (await self.command("dispatcher.list")).splitlines()
        uris = [line.split()[-1] for line in lines if "URI:" in line]
        flags = [line.split()[-1] for line in lines if "FLAGS:" in line]
        found = {int(uri.rpartition(":")[2]): flag for uri, flag in zip(uris, flags, strict=True)}
        return {number: found[port] for number, port in enumerate(NODES, 1) if port in found}

    async def await_states(self, **expected: str) -> None:
        wanted = {int(name.removeprefix("node")): flags for name, flags in expected.items()}
        with trio.fail_after(10):
            while wanted.items() - (await self.states()).items():  # noqa: ASYNC110
                await trio.sleep(0.1)


@asynccontextmanager
async def cluster(directory: Path, *more: str) -> AsyncIterator[tuple[Cluster, trio.Nursery]]:
    """Three nodes behind Kamailio."""
    if not kamailio.available() or shutil.which("kamcmd") is None:
        unavailable("peers", "Kamailio is not installed; `make test-peers` installs it")
    async with trio.open_nursery() as nursery:
        serving: list[Cluster] = []
        bots = await nursery.start(
            partial(serve_websocket, lambda one: serving[0].serve(one), "127.0.0.1", 0, None)
        )
        made = Cluster(directory, bots.port)
        serving.append(made)
        values = {
            "LISTEN": f"udp:127.0.0.1:{KAMAILIO}",
            "CONTACT": f'"127.0.0.1:{KAMAILIO}"',
            "TRUNK": r'"^127\.0\.0\.1$"',
            "NODES": f'"{directory}/nodes.list"',
            "CONTROL": f'"unixs:{directory}/control"',
            "MODULES": f'"{kamailio.modules()}/"',
        }
        defines = [word for item in values.items() for word in ("-A", "=".join(item))]
        config = SCALE / "kamailio.cfg"
        with kamailio.started(directory, config, *defines, *more):
            async with trio.open_nursery() as starting:
                for number in (1, 2, 3):
                    starting.start_soon(made.start, nursery, number)
            await made.await_states(node1="AP", node2="AP", node3="AP")
            yield made, nursery
            for node in made.nodes.values():
                node.kill()
            nursery.cancel_scope.cancel()


async def place(stack: AsyncExitStack, phone: Phone, nodes: Cluster) -> tuple[Call, int]:
    """A call that is answered within five seconds, and the node that has it."""
    before = nodes.calls.copy()
    call = await stack.enter_async_context(phone.call(f"sip:700@127.0.0.1:{KAMAILIO}"))
    await call.answered(timeout=5)
    await until(lambda: nodes.calls - before)
    return call, next(iter(nodes.calls - before))


async def hear_echo(call: Call) -> None:
    with call.open_audio(RATE) as port:
        await hear_tone(port, 1000, say=sine(1000, RATE, 1))


async def refusal(method: str, further: str) -> str:
    """How Kamailio answers a stranger who asks it to relay, with a Route and a To tag."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as stranger:
        await stranger.bind(("127.0.0.9", 0))
        host = f"127.0.0.9:{stranger.getsockname()[1]}"
        request = (
            f"{method} sip:+900@{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK1\r\n"
            f"Route: <sip:127.0.0.1:{KAMAILIO};lr>\r\nMax-Forwards: 70\r\n"
            f"From: <sip:x@{host}>;tag=a\r\nTo: <sip:y@{host}>{further}\r\nCall-ID: {method}\r\n"
            f"CSeq: 1 {method}\r\nContact: <sip:x@{host}>\r\nContent-Length: 0\r\n\r\n"
        )
        await stranger.sendto(request.encode(), ("127.0.0.1", KAMAILIO))
        with trio.fail_after(5):
            answer, _ = await stranger.recvfrom(4096)
        return answer.decode().splitlines()[0]


async def test_calls_are_spread_while_nodes_die_drain_and_come(tmp_path: Path) -> None:
    async with (
        cluster(tmp_path) as (nodes, nursery),
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
        AsyncExitStack() as stack,
    ):
        for method in ("INVITE", "MESSAGE", "OPTIONS"):
            for further in ("", ";tag=b"):
                assert await refusal(method, further) == "SIP/2.0 403 Forbidden"

        calls = [await place(stack, phone, nodes) for _ in range(9)]
        assert nodes.calls == {1: 3, 2: 3, 3: 3}
        await hear_echo(calls[0][0])

        nodes.nodes[3].send_signal(signal.SIGKILL)
        # The first ones before Kamailio knows of the death.
        calls += [await place(stack, phone, nodes) for _ in range(2)]
        assert {number for _, number in calls[9:]} <= {1, 2}

        await nodes.start(nursery, 4)
        nodes.write_nodes(4)
        # It forgets how many calls each node has.
        await nodes.command("dispatcher.reload")
        await nodes.await_states(node4="AP")
        calls += [await place(stack, phone, nodes) for _ in range(4)]
        assert 4 in {number for _, number in calls[11:]}

        nodes.nodes[2].send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            while (await nodes.states())[2] == "AP":  # noqa: ASYNC110 - Kamailio tells nobody
                await trio.sleep(0.1)
        calls += [await place(stack, phone, nodes) for _ in range(3)]
        assert 2 not in {number for _, number in calls[15:]}
        await hear_echo(next(call for call, number in calls if number == 2))

        # Kamailio ends the dead node's calls: an OPTIONS within each of them is not answered.
        dead = [call for call, number in calls if number == 3]
        await until(lambda: all(call.state == "ended" for call in dead), within=60)
        assert {call.ended_by for call in dead} == {"remote"}
        up = [call for call, number in calls if number != 3]
        assert {call.state for call in up} == {"answered"}
        for call in up:
            call.hang_up()
        with trio.fail_after(5):
            assert await nodes.nodes[2].wait() == 0


async def test_kamailio_registers_with_a_trunk_that_sends_its_calls_there(tmp_path: Path) -> None:
    with Asterisk(dialplan="[phones]\nexten = 800,1,Dial(PJSIP/bob)\n") as trunk:
        trunks = tmp_path / "trunks"
        trunks.mkdir()
        shutil.copy(SCALE / "trunks" / "version", trunks)
        account = (SCALE / "trunks" / "uacreg").read_text()
        for before, after in {
            "203.0.113.10": "127.0.0.1",
            "sip\\:trunk.example.org": "sip\\:" + trunk.domain.replace(":", "\\:"),
            "trunk.example.org:trunk.example.org": "127.0.0.1:asterisk",
            "4930123": "bob",
            "PASSWORD": PASSWORD,
        }.items():
            assert before in account
            account = account.replace(before, after)
        (trunks / "uacreg").write_text(account)
        async with (
            cluster(tmp_path, "-A", f'TRUNKS="text://{trunks}"') as (nodes, _),
            open_phone(trunk.account(), listen=("127.0.0.1", 0), ports=PORTS) as phone,
        ):
            await until(lambda: "bob/sip:" in trunk.command("pjsip show contacts"), within=20)
            async with phone.call("800") as call:
                await call.answered(timeout=5)
                await hear_echo(call)
                assert nodes.calls.total() == 1
