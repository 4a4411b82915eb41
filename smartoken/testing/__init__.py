"""Real parts for tests, shipped to plugin authors: nothing here is a mock, everything is met over a socket or a file.

upstream.py   a pretend upstream: wires/ is what it speaks, plays.py how it misbehaves, counts.py its own books
process.py    the same in a process of its own
proxy.py      a TCP proxy that slows, cuts, swallows and loses replies
store_suite.py what every Store adapter must pass
"""
