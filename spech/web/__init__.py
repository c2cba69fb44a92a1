"""The phone in the page: files over HTTP, control over one WebSocket, PCM over another."""
