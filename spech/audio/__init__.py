"""PCM processing: sounds to play, mixing, levels, tone detection and recordings."""
