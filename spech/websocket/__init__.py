"""Binary WebSocket frames that carry sound within the media tick."""
