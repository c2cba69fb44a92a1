"""The library: phones, accounts and calls under Trio."""
