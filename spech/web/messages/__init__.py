"""The JSON of the control channel as types, by subject. docs/protocol.md is the contract."""
