"""What Prometheus reads about a bridge."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from spech.bridge.records import CallRecord


class BridgeMetrics:
    """Counts the calls of a bridge."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._present = Gauge("spech_calls", "Present calls.", registry=registry)
        self._registered = Gauge("spech_ready", "Whether calls are taken.", registry=registry)
        self._ended = Counter(
            "spech_calls_ended", "Calls that have ended, by cause.", ["cause"], registry=registry
        )
        self._setup = Histogram(
            "spech_call_setup_seconds",
            "From the INVITE to the answer.",
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
            registry=registry,
        )
        self._mos = Histogram(
            "spech_call_mos",
            "Estimated quality at the end of a call.",
            buckets=(2, 2.5, 3, 3.5, 4, 4.2, 4.4, 4.5),
            registry=registry,
        )
        self._untaken = Counter(
            "spech_untaken_frames", "Frames that bots did not take.", registry=registry
        )
        self._lost = Counter(
            "spech_lost_seconds", "Sound of bots that was lost in full queues.", registry=registry
        )

    def note(self, record: CallRecord) -> None:
        """A call has ended."""
        self._ended.labels(record.cause).inc()
        self._untaken.inc(record.untaken_frames)
        self._lost.inc(record.lost_seconds)
        if record.setup_seconds is not None:
            self._setup.observe(record.setup_seconds)
        if record.mos is not None:
            self._mos.observe(record.mos)

    def render(self, present: int, ready: bool) -> bytes:
        """All of it in Prometheus's text format."""
        self._present.set(present)
        self._registered.set(ready)
        return generate_latest(self._registry)
