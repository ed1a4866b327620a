"""Properties hold at any speed: hypothesis' deadline would fail for a busy machine, not for a bug."""

from hypothesis import settings

settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")
