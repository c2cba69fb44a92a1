"""What is measured of a process and of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.machine import cpu, describe, family, memory, open_files, watching


def test_cpu_is_that_of_the_process_and_of_those_that_it_started() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    own = time.process_time()
    with subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in family(os.getpid())
        assert family(child.pid) == [child.pid]
        assert cpu(child.pid) >= 0.3
        assert cpu(os.getpid()) >= own + 0.3
        assert 1 < memory(child.pid) < memory(os.getpid())
        assert open_files(child.pid) >= 3
        child.communicate(b"\n")


def test_a_window_covers_its_block() -> None:
    with watching(os.getpid()) as window:
        before = time.process_time()
        sum(range(1_000_000))
        spent = time.process_time() - before
    assert window.cpu >= spent
    assert window.memory > 0
    assert set(window.values()) == {"wait", "steal", "others"}
    assert min(window.values().values()) >= 0


def test_the_machine_is_described() -> None:
    about = describe()
    assert {"machine", "python", "packages", "commit", "sources"} <= set(about)
    assert "numpy" in about["packages"]
