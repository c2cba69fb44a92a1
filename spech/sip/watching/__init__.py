"""Subscriptions and what their notifications carry."""
