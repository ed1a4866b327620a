from tests.unit.config.example import site
from tests.unit.config.opcua import opcua_site

__all__ = ["opcua_site", "site"]
