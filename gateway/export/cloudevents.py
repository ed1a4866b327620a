"""An event in the envelope of CloudEvents 1.0, as one JSON (structured mode)."""

from urllib.parse import quote

import msgspec

from gateway.export.classes import VERSION
from gateway.export.fitting import fit
from gateway.export.ocsf import Event, rfc3339

CONTENT_TYPE = "application/cloudevents+json"

_encode = msgspec.json.Encoder().encode


def envelope(event: Event, origin: str) -> bytes:
    """`source` names the log, `id` the record in it: the two together are unique (CloudEvents §3.1)."""
    return _encode(
        {
            "specversion": "1.0",
            "id": event.uid,
            "source": f"//{quote(origin, safe='/:')}",
            "type": f"dmz.audit.{event.kind}",
            "subject": event.gateway,
            "time": rfc3339(event.wall_ns),
            "datacontenttype": "application/json",
            "dataschema": f"https://schema.ocsf.io/{VERSION}/classes/{event.schema}",
            "sequence": f"{event.index:020d}",
            "data": msgspec.Raw(fit(event).data),
        }
    )
