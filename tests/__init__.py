"""The tests of SuperEdge. No time is asserted, so none of hypothesis' examples has a deadline either."""

import gc
from pathlib import Path

from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.strategies import text

# What is loaded stays: to go through it at every 700 new objects took a tenth of the tests' time.
gc.set_threshold(10_000, 20, 20)

settings.register_profile("superedge", deadline=None)
settings.load_profile("superedge")

# All of trial's workers share what hypothesis keeps: examples that failed, and a table of Unicode. The
# table takes more than a second, so it is made here, before there are workers.
set_hypothesis_home_dir(Path(__file__).parents[1] / ".hypothesis")
text().validate()
