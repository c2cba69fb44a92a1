"""Who is told of each call that begins: a test harness, for the reports of failed tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

#: Each is called with the :class:`~spech.Call` before its first message. They may not raise.
call_observers: Final[list[Callable[[Any], object]]] = []
