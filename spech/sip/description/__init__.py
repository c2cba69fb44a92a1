"""Session descriptions, and the negotiation of one audio stream."""
