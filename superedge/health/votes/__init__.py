"""What is said and what it means: ballots, who may cast them, verdicts, outcomes, messages. Pure."""
