"""Executes the container file in a Debian tree made by debootstrap, and runs what it makes.

    sudo python3 tools/try_container.py

No image registry is needed. ``FROM`` becomes debootstrap, ``RUN`` and the entry point run in a
chroot, and ``COPY`` copies what is committed. APT and pip use this machine's mirror, proxy,
``PIP_*`` variables and certificates. The server runs in a network namespace of its own; its page
has to answer, and SIGTERM has to end it within six seconds. Root, debootstrap and ``unshare`` are
needed, and about three minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

_CHECKOUT: Final = Path(__file__).parents[1]
_FILE: Final = _CHECKOUT / "docs/deploy/Containerfile"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CERTIFICATES: Final = "/etc/pip-certificates.crt"
_RELEASES: Final = {"debian:12-slim": "bookworm"}
_SETUP: Final = 'eval "$(sed -n "/^mirror()/,/^}/p" tools/setup.sh)"; mirror'
_PROXY: Final = 'eval "$(apt-config shell proxy Acquire::http::Proxy)"; echo "$proxy"'
#: Runs inside the namespace: starts the server, asks for the page, ends the server.
_PROBE: Final = """
import subprocess, sys, time, urllib.request
server = subprocess.Popen(sys.argv[1:])
for _ in range(100):
    try:
        page = urllib.request.urlopen("http://127.0.0.1:8080/", timeout=5)
        break
    except OSError:
        time.sleep(0.2)
        assert server.poll() is None, "the server has ended"
else:
    raise SystemExit("the page does not answer")
assert page.status == 200 and b"<html" in page.read()
began = time.monotonic()
server.terminate()
assert server.wait(6) == 0, server.returncode
print(f"the page answered, and SIGTERM ended the server in {time.monotonic() - began:.1f} s")
"""


def output(command: str) -> str:
    """What a shell prints in the checkout."""
    done = subprocess.run(["bash", "-c", command], cwd=_CHECKOUT, capture_output=True, check=True)
    return done.stdout.decode().strip()


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of each instruction."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", _FILE.read_text(), flags=re.MULTILINE))
    lines = [line.partition(" ") for line in text.splitlines() if line]
    return [(name, rest.strip()) for name, _, rest in lines]


class Tree:
    """A Debian tree in which instructions are executed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.user = "root"
        self.entry: list[str] = []
        self.command: list[str] = []
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        if "PIP_CERT" in pip:  # A copy, because APT replaces the file of ca-certificates.
            pip["PIP_CERT"] = _CERTIFICATES
        self._environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", **pip}

    def execute(self, name: str, rest: str) -> None:
        """Execute one instruction."""
        print(f"{name} {' '.join(rest.split())}", flush=True)
        match name:
            case "FROM":
                self._create(_RELEASES[rest])
            case "RUN":
                self._run(["chroot", str(self.root), "sh", "-c", rest])
            case "COPY":
                source, target = rest.split()
                assert source == "."
                to = self.root / target.lstrip("/")
                to.mkdir(parents=True)
                subprocess.run(
                    f"git archive HEAD | tar -x -C {to}", shell=True, cwd=_CHECKOUT, check=True
                )
            case "USER":
                self.user = rest
            case "ENTRYPOINT":
                self.entry = json.loads(rest)
            case "CMD":
                self.command = json.loads(rest)
            case "VOLUME":
                assert (self.root / rest.lstrip("/")).is_dir()
            case "STOPSIGNAL":
                assert rest == "SIGTERM"
            case _:
                raise SystemExit(f"the instruction {name} is not known here")

    def serve(self) -> None:
        """Run the entry point with its command, and ask it for its page."""
        start = ["chroot", f"--userspec={self.user}:{self.user}", str(self.root)]
        inside = 'ip link set lo up && mount -t proc proc "$0/proc" && exec "$@"'
        probe = ["unshare", "--net", "--mount", "sh", "-c", inside, str(self.root)]
        probe += [sys.executable, "-c", _PROBE]
        self._run([*probe, *start, *self.entry, *self.command])

    def _create(self, release: str) -> None:
        environment = {**self._environment, "http_proxy": output(_PROXY)}
        subprocess.run(
            ["debootstrap", "--variant=minbase", release, str(self.root), output(_SETUP)],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        # What the machine's APT and pip need in order to reach their servers.
        needed = {path: path for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf")}
        for source, target in (needed | {os.environ.get("PIP_CERT", ""): _CERTIFICATES}).items():
            if Path(source).is_file():
                shutil.copy(source, self.root / target.lstrip("/"))
        shutil.copytree("/etc/apt/apt.conf.d", self.root / "etc/apt/apt.conf.d", dirs_exist_ok=True)

    def _run(self, command: list[str]) -> None:
        subprocess.run(command, env=self._environment, check=True)


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spech-container-") as folder:
        tree = Tree(Path(folder))
        tree.root.chmod(0o755)
        for name, rest in instructions():
            tree.execute(name, rest)
        tree.serve()
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
