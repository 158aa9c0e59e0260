"""Edge health: nodes of one site probe each other and vote, the cloud judges and keeps or evicts.

`tap/edgehealth.py` makes the edge's half (`edge/`) and the cloud's (`cloud/`) and joins them to the tunnel.
docs/how-to/edge-health.md says what it does for users, docs/protocol.md what is on the wire.
"""
