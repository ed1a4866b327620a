"""The composition root: the only place that knows every part, and where the type checker sees that they fit.

parts      builds them, in order: the time, the journal (recovery), policy, trust, people, links, north
deciding   … where bundles come from, the workshop that tries them, the engine that the guard asks
people     … what people agreed to and set, and the API by which they do
listening  … every place where somebody comes in
running    starts them, watches, stops them the other way round
live       what changes while it runs: trust, certificates, tags, facts; `policies` the bundle that decides
told       what it tells who asks: ready, status, gauges
"""

from gateway.app.running import serve

__all__ = ["serve"]
