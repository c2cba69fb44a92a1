"""PulseAudio without a sound card: what browsers play goes nowhere, at the pace of a clock."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio


@asynccontextmanager
async def sound_card(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run it while the block runs. Yields the environment for programs that use it."""
    socket = folder / "sound-card"
    command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--disable-shm=yes"]
    command += ["--exit-idle-time=-1", "--log-level=error", "-L", "module-null-sink"]
    command += ["-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]
    async with trio.open_nursery() as nursery:
        with (folder / "pulse.log").open("wb") as log:
            await nursery.start(
                partial(
                    trio.run_process,
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    check=False,
                    env={"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
                )
            )
        with trio.fail_after(20):
            while not socket.exists():  # noqa: ASYNC110
                await trio.sleep(0.05)
        yield {"PULSE_SERVER": f"unix:{socket}"}
        nursery.cancel_scope.cancel()
