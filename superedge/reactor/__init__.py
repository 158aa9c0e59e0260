"""Extensions of Twisted's reactor: clock, name resolver, event dispatch, timers, loops and tasks.

`superedge.net` and every layer above use this package. It opens no sockets.
"""
