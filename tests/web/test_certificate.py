"""The certificate of a page that is served over TLS: read, renewed, refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from spech.errors import SpechError
from spech.testing.certificates import self_signed
from spech.web.certificate import PageCertificate


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    for path, content in zip((certificate, key), self_signed("phone.example.org"), strict=True):
        write(path, content)
    return certificate, key


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """A thousand seconds of it are one."""
    return trio.testing.MockClock(rate=1000.0)


def write(path: Path, content: bytes) -> Path:
    """Write a file, a second later than the time before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return path


async def test_renewed_files_are_used(files: tuple[Path, Path]) -> None:
    certificate = PageCertificate(*files)
    first = certificate.context
    certificate.renew()
    assert certificate.context is first
    # Between the writing of the two files they do not belong together.
    pem, key = self_signed("phone.example.org")
    write(files[0], pem)
    with pytest.raises(SpechError, match="key values mismatch"):
        certificate.renew()
    certificate.renew()
    assert certificate.context is first
    write(files[1], key)
    certificate.renew()
    assert certificate.context is not first


async def test_files_are_looked_at_now_and_then(
    files: tuple[Path, Path], fast_clock: trio.testing.MockClock
) -> None:
    certificate = PageCertificate(*files)
    first = certificate.context
    async with trio.open_nursery() as nursery:
        nursery.start_soon(certificate.follow_files)
        with trio.fail_after(10_000):
            write(files[0], b"nonsense")
            await trio.sleep(200)
            assert certificate.context is first
            for path, content in zip(files, self_signed("phone.example.org"), strict=True):
                write(path, content)
            while certificate.context is first:  # noqa: ASYNC110
                await trio.sleep(1)
        nursery.cancel_scope.cancel()


def test_unusable_files_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = files
    other = write(tmp_path / "other.pem", self_signed("other.example.org")[1])
    with pytest.raises(SpechError, match="key values mismatch"):
        PageCertificate(certificate, other)
    with pytest.raises(SpechError, match="not PEM"):
        PageCertificate(write(other, b"nonsense"), key)
    with pytest.raises(SpechError, match="missing"):
        PageCertificate(certificate, tmp_path / "missing")
