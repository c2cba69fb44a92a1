"""A telephone for web pages, programs and test suites."""
