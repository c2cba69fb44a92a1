"""Caddy and nginx with the configurations of docs/deploy, on other addresses and ports."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from spech.testing.certificates import self_signed

from .. import ports
from .firefox import NAME

_EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "deploy"
_UPSTREAM = "127.0.0.1:8080"
_PROGRAMS = {"caddy": "caddy", "nginx": "/usr/sbin/nginx"}

_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{example}
}}
"""
_CADDY = """
{{
    admin off
    auto_https off
    storage file_system {folder}
}}
{example}
"""


def available(program: str) -> bool:
    """Whether ``caddy`` or ``nginx`` is installed."""
    return shutil.which(_PROGRAMS[program]) is not None


@asynccontextmanager
async def proxy(program: str, folder: Path, upstream: int) -> AsyncIterator[int]:
    """Run ``caddy`` or ``nginx`` before a port while the block runs.

    Yields its port of TCP. The certificate is ``certificate.pem`` in ``folder``.
    """
    port = ports.reserve()
    for name, content in zip(("certificate.pem", "key.pem"), self_signed(NAME), strict=True):
        (folder / name).write_bytes(content)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if program == "caddy":
        example = _changed(
            "Caddyfile",
            {
                f"{NAME} {{": (
                    f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}"
                )
            },
            upstream,
        )
        config = folder / "Caddyfile"
        config.write_text(_CADDY.format(folder=folder, example=example))
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
    else:
        letsencrypt = f"/etc/letsencrypt/live/{NAME}"
        example = _changed(
            "nginx.conf",
            {
                "listen 443": f"listen 127.0.0.1:{port}",
                f"{letsencrypt}/fullchain.pem": str(certificate),
                f"{letsencrypt}/privkey.pem": str(key),
            },
            upstream,
        )
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, example=example))
        command = ["/usr/sbin/nginx", "-e", str(folder / "nginx.log"), "-c", str(config)]
    with (folder / f"{program}.output").open("wb") as output:
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(
                    trio.run_process,
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                    env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
                )
            )
            await _listens(port)
            yield port
            nursery.cancel_scope.cancel()


def _changed(example: str, replacements: dict[str, str], upstream: int) -> str:
    """An example whose names, files and ports are those of a test."""
    text = (_EXAMPLES / example).read_text()
    for old, new in (replacements | {_UPSTREAM: f"127.0.0.1:{upstream}"}).items():
        assert old in text
        text = text.replace(old, new)
    return text


async def _listens(port: int) -> None:
    with trio.fail_after(20):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return
