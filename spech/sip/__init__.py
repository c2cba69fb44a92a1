"""Part of Spech."""
