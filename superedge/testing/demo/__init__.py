"""``make demo``: the product's main job on one machine, every part a real process.

`steps` is what it shows, `stage` the processes, `informer` a client that lists and watches.
"""
