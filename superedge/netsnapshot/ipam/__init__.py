"""The CNI plugin ``superedge-ipam``: an address belongs to a pod, not to its sandbox.

It uses the standard library alone and imports nothing else of superedge, so that it runs from a single file.
It starts anew for every pod, so it avoids modules that take long to import: ``json``, ``re``, ``socket``,
``typing``, ``collections``, and ``os``, whose functions are in ``posix``.
"""
