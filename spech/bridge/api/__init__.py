"""The control plane of a bridge, over HTTP."""
