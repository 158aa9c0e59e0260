"""The cloud: as whom it is asked, whether it is there and still the same, and what is read from it unasked.

`frontend.py` and `service.py` call it; `forward` asks it whether an answer is an API server's.
"""
