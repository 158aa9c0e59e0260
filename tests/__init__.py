"""The tests of SuperEdge. No time is asserted, so none of hypothesis' examples has a deadline either."""

import gc

from hypothesis import settings

# What is loaded stays: to go through it at every 700 new objects took a tenth of the tests' time.
gc.set_threshold(10_000, 20, 20)

settings.register_profile("superedge", deadline=None)
settings.load_profile("superedge")
