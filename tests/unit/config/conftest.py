from tests.unit.config.example import site

__all__ = ["site"]
