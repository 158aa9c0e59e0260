"""The node's half: probes peers, votes, passes ballots on. `service.py` puts it together."""
