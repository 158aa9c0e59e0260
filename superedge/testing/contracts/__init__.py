"""Contract suites: the same tests run on a stand-in and on the real thing."""
