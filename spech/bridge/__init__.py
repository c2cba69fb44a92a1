"""A call and a WebSocket that carries its sound, for bots and recorders."""
