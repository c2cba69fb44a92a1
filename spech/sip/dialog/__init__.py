"""Dialogs, requests with credentials, and identities."""
