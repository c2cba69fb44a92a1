"""Calls: INVITE sessions, their farewell, and what happens within them."""
