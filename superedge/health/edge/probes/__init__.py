"""Ways to check a peer, each an `IHealthProbe`: `tcp.py`, `web.py` (http, https, kubelet), `icmp.py`.

`probe_set.py` asks those that the configuration names and adds up their answers.
"""
