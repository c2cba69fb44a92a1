"""Shared libraries of codecs, called through ctypes.

C checks nothing, so a codec that uses this checks lengths before each call, copies sound into
buffers of its own, and passes at most one packet at a time.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from spech.codecs.base import Samples
from spech.errors import CodecUnavailable


class Library:
    """A shared library that may be missing.

    Args:
        name: as the linker calls it, ``gsm`` for ``libgsm``.
        version: of its binary interface, the number behind ``.so``.
        package: the Debian package that brings it.
    """

    def __init__(self, name: str, version: int, package: str) -> None:
        self.package = package
        self._library = _load(name, version)

    @property
    def available(self) -> bool:
        """Whether it is installed."""
        return self._library is not None

    def function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """One of its functions, with the C types of its result and its arguments.

        In a library that is missing, one that raises CodecUnavailable.
        """
        if self._library is None:
            return self._missing
        function: Callable[..., Any] = getattr(self._library, name)
        function.restype = result  # type: ignore[attr-defined]
        function.argtypes = arguments  # type: ignore[attr-defined]
        return function

    def _missing(self, *_: object) -> None:
        raise CodecUnavailable(f"a library is missing: install the package {self.package}")


class LibraryState:
    """A state that a library made: the pointer, which goes with the object that holds this one."""

    def __init__(self, pointer: Any, destroy: Callable[[Any], object]) -> None:
        if not pointer:
            raise MemoryError("a codec's library could not make its state")
        self.pointer = pointer
        # No longer than this object, but not while the interpreter goes down, when all goes.
        weakref.finalize(self, destroy, pointer).atexit = False


class Buffer:
    """A place for samples that does not move: ``pcm`` for numpy, ``address`` for C."""

    def __init__(self, samples: int) -> None:
        self.pcm: Samples = np.zeros(samples, np.int16)
        self.address: int = self.pcm.ctypes.data

    def at(self, sample: int) -> int:
        """The address of one of its samples.

        Raises:
            IndexError: it has no such sample.
        """
        if not 0 <= sample < len(self.pcm):
            raise IndexError(f"sample {sample} of {len(self.pcm)}")
        return self.address + 2 * sample


def _load(name: str, version: int) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(f"lib{name}.so.{version}")
    except OSError:
        found = ctypes.util.find_library(name)
    try:
        return None if found is None else ctypes.CDLL(found)
    except OSError:
        return None
