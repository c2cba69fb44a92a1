"""What test suites import: a pytest plugin, peers, networks and assertions on sound."""
