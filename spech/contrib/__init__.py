"""Spech within frameworks for voice bots, each with an extra of its own."""
