"""Checks whether the far end of a call still responds and whether its sound arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from spech.agreement import Agreed
from spech.media.engine import Media
from spech.sip.call.session import Session
from spech.sip.endpoint import Endpoint

#: Seconds between checks of a call.
LOOK_SECONDS: Final = 1.0
#: Seconds from an answered OPTIONS request to the next, while nothing else is received.
_ASK_AGAIN: Final = 15.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a far end may be silent, in seconds.

    Attributes:
        no_sound: until a call reports that no sound arrives.
        give_up: until a call whose far end gives no sign of life is ended; None for never.
    """

    no_sound: float = 5.0
    give_up: float | None = 60.0


class PeerLife:
    """Watches the far end of one call.

    RTP, RTCP and any response to an OPTIONS request within the dialog are signs of life. OPTIONS is
    sent when there has been no other sign for a while. For a far end that may be silent, because it
    is held or suppresses silence, only RTCP and OPTIONS count.

    Attributes:
        no_sound: whether no sound arrives though the far end may send.
    """

    def __init__(self, endpoint: Endpoint, media: Media, patience: Patience) -> None:
        self._endpoint = endpoint
        self._media = media
        self._patience = patience
        self.no_sound = False
        self._receiving = self._pauses = False
        self._since: float | None = None
        self._answered: float | None = None
        self._ask_at = 0.0
        self._asking = False
        #: When the first OPTIONS that is still unanswered was sent.
        self._unanswered: float | None = None
        self._pause = min(_ASK_AGAIN, (patience.give_up or math.inf) / 3)
        self._early = 0.0

    def configure(self, agreed: Agreed, now: float) -> None:
        """The media has been negotiated."""
        receiving = agreed.direction in ("sendrecv", "recvonly")
        if self._since is None or receiving is not self._receiving:
            self._since = now
        self._receiving = receiving
        self._pauses = agreed.comfort_noise_receive is not None or self._media.dtx

    def look(self, session: Session, now: float) -> bool:
        """Check for signs of life. True if :attr:`no_sound` has changed.

        A call without any for too long is hung up.
        """
        before = self.no_sound
        if session.is_up and self._since is not None:
            self._judge(session, self._since, now)
        elif (self._media.last_rtp or 0.0) > self._early:
            # Early media may last longer than the pause between two provisional responses.
            self._early = now
            with self._endpoint.command() as (_, now):
                session.hear_early_media(now)
        return self.no_sound is not before

    def _judge(self, session: Session, since: float, now: float) -> None:
        sound = max(since, self._media.last_rtp or since)
        life = max(sound, self._media.last_rtcp or since, self._answered or since)
        patience = self._patience
        if self._pauses:
            # A far end that suppresses silence counts as silent if it does not answer OPTIONS.
            asked = self._unanswered
            silent = asked is not None and life < asked and now - asked >= patience.no_sound
            self.no_sound = self._receiving and silent
        else:
            self.no_sound = self._receiving and now - sound >= patience.no_sound
        if patience.give_up is not None and now - life >= patience.give_up:
            with self._endpoint.command() as (_, now):
                session.hang_up(
                    now, 408, f"No sign of life from the far end for {patience.give_up:g} s"
                )
        elif now - life >= patience.no_sound and not self._asking and now >= self._ask_at:
            self._asking = True
            if self._unanswered is None or self._unanswered < life:
                self._unanswered = now
            with self._endpoint.command() as (_, now):
                session.ask_options(now, self._receive_options)

    def _receive_options(self, answered: bool, now: float) -> None:
        self._asking = False
        self._ask_at = now
        if answered:
            self._answered, self._unanswered = now, None
            self._ask_at = now + self._pause
