"""The cloud's half: judges, writes verdicts, keeps and evicts. `service.py` runs it by Lease."""
