"""The composition root: the only place that knows every part, and where the type checker sees that they fit.

parts     builds them, in order: the time, the journal (recovery), policy, trust, links, listeners, north
running   starts them, watches, stops them the other way round
live      what changes while it runs: policy, trust, certificates, tags, facts
told      what it tells who asks: ready, status, gauges
"""

from gateway.app.running import serve

__all__ = ["serve"]
