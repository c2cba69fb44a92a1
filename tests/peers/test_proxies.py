"""The web phone behind Caddy and nginx, as docs/deploy configures them, in Firefox."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from pathlib import Path

import pytest
import trio

from spech.testing.plugin import unavailable

from . import firefox, proxies
from .soundcard import sound_card
from .webphone import sound_both_ways, visible, wait_for, web_phone

_PASSWORD = "correct-horse-7"
_GUESSER = "127.0.0.9"


@pytest.mark.parametrize("program", ["caddy", "nginx"])
async def test_a_call_through_a_proxy(program: str, tmp_path: Path) -> None:
    """Page, sign-in, and sound both ways, all through one port under a name."""
    if not proxies.available(program):
        unavailable("peers", f"{program} is not installed; `make test-peers` installs it")
    if not firefox.available():
        unavailable("peers", "Firefox or PulseAudio is not installed; `make test-peers` does it")
    with trio.fail_after(120):
        async with (
            web_phone(
                tmp_path,
                *("--allow-host", firefox.NAME, "--trusted-proxy", "127.0.0.1"),
                environment={"SPECH_WEB_PASSWORD": _PASSWORD},
            ) as phone,
            proxies.proxy(program, tmp_path, phone.port) as port,
            sound_card(tmp_path) as card,
            firefox.firefox(tmp_path, card) as page,
        ):
            assert await trio.to_thread.run_sync(_guess, port, tmp_path) == 401
            log = await trio.Path(phone.log).read_text()
            assert f"login failed from {_GUESSER}: wrong password" in " ".join(log.split())

            await page.open(f"https://{firefox.NAME}:{port}/")
            await wait_for(page, visible("name"))
            await page.write("name", "admin")
            await page.write("password", _PASSWORD)
            await page.click("sign-in")
            await wait_for(page, "window.spech?.state")
            await wait_for(page, visible("number"))
            incoming_calls = phone.bob.incoming_calls()
            await page.write("number", "bob")
            await page.click("call")
            async with (await anext(incoming_calls)).answer() as call:
                await sound_both_ways(page, call, firefox.TONE)
                await page.click("hangup")
                await call.ended()


def _guess(port: int, folder: Path) -> int:
    """Sign in with a wrong password, from another address and with headers that claim a third."""
    trusting = ssl.create_default_context(cafile=folder / "certificate.pem")
    tcp = socket.create_connection(("127.0.0.1", port), 20, source_address=(_GUESSER, 0))
    with trusting.wrap_socket(tcp, server_hostname=firefox.NAME) as secure:
        connection = http.client.HTTPConnection(firefox.NAME, port)
        connection.sock = secure
        attempt = {"name": "admin", "password": "wrong-guess-1"}
        claim = {"Forwarded": "for=192.0.2.1", "X-Forwarded-For": "192.0.2.2"}
        connection.request("POST", "/session", json.dumps(attempt), claim)
        return connection.getresponse().status
