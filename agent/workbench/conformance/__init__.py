"""The conformance kit: it plays a POS against a till's door, with a made-up loyalty system behind it.

A door is whatever speaks `docs/till-api.md`: an agent, or a POS vendor's proxy or gateway before one. The loyalty
system is the kit's own, so that it can be cut off, and asked afterwards what it really has. What came of each case is
told to programs (JSON, JUnit) and to people.
"""
