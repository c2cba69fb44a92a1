"""One SIP address for several processes: a front owns it, and workers carry the calls."""
