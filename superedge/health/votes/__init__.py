"""Ballots and their signatures, witnesses, verdicts, outcomes, and the messages that carry them. Pure."""
