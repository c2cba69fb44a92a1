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
        self._ports = Gauge("spech_ports", "Pairs of RTP ports there are.", registry=registry)
        self._used = Gauge("spech_ports_used", "Pairs that calls use.", registry=registry)
        self._ended = Counter(
            "spech_calls_ended",
            "Calls that have ended, by direction and cause.",
            ["direction", "cause"],
            registry=registry,
        )
        self._setup = Histogram(
            "spech_call_setup_seconds",
            "From the INVITE to the answer.",
            ["direction"],
            buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
            registry=registry,
        )
        self._barge_in = Histogram(
            "spech_barge_in_seconds",
            "From the voice or digit that interrupts a bot to silence on the line.",
            buckets=(0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5),
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
        self._webhook = Counter(
            "spech_webhook_events",
            "Events that the webhook has taken, and that were dropped.",
            ["outcome"],
            registry=registry,
        )

    def note(self, record: CallRecord) -> None:
        """A call has ended."""
        self._ended.labels(record.direction, record.cause).inc()
        self._untaken.inc(record.untaken_frames)
        self._lost.inc(record.lost_seconds)
        if record.setup_seconds is not None:
            self._setup.labels(record.direction).observe(record.setup_seconds)
        if record.mos is not None:
            self._mos.observe(record.mos)

    def note_barge_in(self, seconds: float) -> None:
        """A caller who interrupted a bot has waited so long for silence."""
        self._barge_in.observe(seconds)

    def note_webhook(self, taken: bool) -> None:
        """The webhook has taken an event, or the event is dropped."""
        self._webhook.labels("taken" if taken else "dropped").inc()

    def render(self, pairs: int, used: int, present: int, ready: bool) -> bytes:
        """All of it in Prometheus's text format.

        Args:
            pairs: of RTP ports there are.
            used: those of them that calls use.
            present: calls.
            ready: whether calls are taken.
        """
        self._present.set(present)
        self._registered.set(ready)
        self._ports.set(pairs)
        self._used.set(used)
        return generate_latest(self._registry)
