"""The sound of a call: where RTP and codecs meet."""
