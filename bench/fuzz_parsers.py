"""Fuzz each kind of parser for the same time of the processor.

    python -m bench.fuzz_parsers [--minutes 3] [--folder FOLDER] [KIND ...]

Runs the fuzz targets of ``tests/fuzz`` in turn, half a minute of one and then of the next, until
each has had its minutes of processor time, and adds a line of JSON to ``FOLDER/results`` after each
run. Another run continues with the inputs and the times in the folder. An input that fails is kept
there; its kind is left out until the file is removed. The exit status is 1 if there is one.

The kinds are those of ``tests/cost/parsers.py``, ``sip`` (a whole user agent) and ``rtp`` (streams,
ICE agents and DTLS handshakes).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.cost.parsers import KINDS

_TARGETS: Final = {
    **{kind: ["-m", "tests.fuzz.parsers", kind] for kind in KINDS},
    "sip": ["tests/fuzz/sip.py"],
    "rtp": ["tests/fuzz/rtp.py"],
}
#: Seconds of processor time that one run takes.
_TURN: Final = 30.0
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units: (\d+)")


def processor_seconds(process: int) -> float:
    """What a child has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(kind: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Fuzz one kind for that much processor time; returns what happened."""
    inputs = folder / kind
    inputs.mkdir(exist_ok=True)
    seeds = ["tests/sip/data"] if kind == "sip" else []
    options = [f"-artifact_prefix={folder}/failed-{kind}-", "-print_final_stats=1", "-timeout=20"]
    with (folder / f"log-{kind}").open("w") as log:
        command = [sys.executable, *_TARGETS[kind], *options, str(inputs), *seeds]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        used = 0.0
        while process.poll() is None:
            used = processor_seconds(process.pid)
            if used >= seconds:
                process.send_signal(signal.SIGUSR1)  # libFuzzer ends, and prints its statistics.
                process.wait()
            time.sleep(0.5)
    executed = _EXECUTED.search((folder / f"log-{kind}").read_text(errors="replace"))
    failed = [path.name for path in folder.glob(f"failed-{kind}-*")]
    return {
        "kind": kind,
        "seconds": round(used, 1),
        "inputs": int(executed[1]) if executed else 0,
        "status": process.returncode,
        "failed": failed,
    }


def spent(results: Path) -> Counter[str]:
    """The seconds that each kind has had."""
    seconds: Counter[str] = Counter()
    if results.exists():
        for line in results.read_text().splitlines():
            result = json.loads(line)
            seconds[result["kind"]] += result["seconds"]
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="for each kind")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/spech/fuzz")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all without any")
    asked = parser.parse_args()
    folder: Path = asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results"
    for command in (["-m", "tests.fuzz.parsers", "--seeds", str(folder)],):
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
    rtp = [sys.executable, "tests/fuzz/rtp.py", "--seeds", str(folder / "rtp")]
    subprocess.run(rtp, check=True, capture_output=True)
    waiting = [kind for kind in _TARGETS if not asked.kinds or kind in asked.kinds]
    while waiting:
        kind = waiting.pop(0)
        left = asked.minutes * 60 - spent(results)[kind]
        if left <= 1 or list(folder.glob(f"failed-{kind}-*")):
            continue
        result = run(kind, min(left, _TURN), folder)
        with results.open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(result, flush=True)
        waiting.append(kind)
    failed = sorted(path.name for path in folder.glob("failed-*"))
    print(f"inputs that fail: {failed}" if failed else "no input fails")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
