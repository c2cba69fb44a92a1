"""Connects calls to WebSockets that carry their sound, for bots and recorders."""
