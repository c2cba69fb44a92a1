"""The interface of sounds that are played tick by tick."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from spech.codecs.base import Samples


@runtime_checkable
class Source(Protocol):
    """A sound that is read tick by tick. Its methods return at once."""

    def read(self, samples: int, rate: int) -> Samples:
        """Return the next ``samples`` samples at ``rate`` Hz; fewer only at the end."""
        ...

    def close(self) -> None:
        """Release resources; may be called again."""
        ...
