"""Exporting: copies of the journal for others, where the configuration names a place for them."""

import ssl
from typing import TYPE_CHECKING

from gateway.config.settings import SyslogSection
from gateway.export.destination import Extent
from gateway.export.exporter import Exporter
from gateway.identity.contexts import client_context
from gateway.publish.uns import Message

if TYPE_CHECKING:
    from gateway.app.parts import Parts


def exporter(parts: "Parts") -> Exporter:
    """The exporter; it has nothing to do where no destination is configured."""
    own = parts.settings.gateway

    def extent() -> Extent:
        status = parts.journal.status()
        return Extent(status["size"] or 0, status["signed_size"] or 0)

    async def publish(topic: str, payload: bytes, content_type: str) -> str | None:
        if parts.broker is None:
            return "no broker"
        message = Message(topic=topic, payload=payload, retain=False, content_type=content_type)
        delivery = await parts.broker.carry(message)
        return None if delivery.accepted else delivery.reason

    def context(section: SyslogSection) -> ssl.SSLContext:
        return client_context(section.anchors, section.certificate, section.key)

    return Exporter(
        parts.settings.audit.export,
        journal=parts.folder.sub("journal"),
        state=parts.folder.sub("state"),
        origin=parts.settings.audit.origin,
        gateway=own.name,
        site=own.site,
        extent=extent,
        clock=parts.now,
        alarm=parts.alarm,
        random=parts.random,
        publish=publish,
        context=context,
    )
