"""What concerns the reactor itself: its clock and name resolver, its polling, deadlines, loops and tasks.

`net` and everything above it are built on this; it knows no sockets of ours.
"""
