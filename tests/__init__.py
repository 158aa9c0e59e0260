"""The tests of SuperEdge. No time is asserted, so none of hypothesis' examples has a deadline either."""

from hypothesis import settings

settings.register_profile("superedge", deadline=None)
settings.load_profile("superedge")
