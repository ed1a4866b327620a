"""What a gateway tells who asks: its status, its gauges, and what expires when."""

from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from gateway import __version__
from gateway.app.opcua import crl_states
from gateway.app.parts import Parts
from gateway.identity.contexts import expiry
from gateway.model.errors import IdentityError
from gateway.model.moment import SECOND
from gateway.publish.pages import rfc3339
from gateway.relay.opcua.listener import OpcuaListener


def status(parts: Parts) -> dict[str, Any]:
    """Everything an operator asks first."""
    now = parts.now()
    crls = dict(crl_states(parts, now))
    return {
        "gateway": parts.settings.gateway.name,
        "version": __version__,
        "ready": all(parts.ready().values()),
        "refused": dict(parts.refused),
        "clock": {"state": parts.clock.state(now), "time": rfc3339(now.wall_ns)},
        "policy": {**parts.deciding.status(), **parts.activation.status(now)},
        "people": parts.people.status(now),
        "trust": [
            {"zone": name, "crl": crls[name], "version": trust.version, "error": trust.error}
            for name, trust in parts.trust.items()
        ],
        "listeners": [listener.status() for listener in parts.listeners],
        "assets": [
            {
                "name": name,
                "up": route.link.up,
                "queued": route.link.queued,
                "in_flight": route.link.in_flight,
                **route.link.counts,
            }
            for name, route in parts.routes.items()
        ]
        + [
            {"name": name, "protocol": "opcua", **server.links.status()}
            for name, server in parts.opcua.items()
        ],
        "tags": parts.values.qualities(),
        "collector": {**parts.collector.status(), **parts.opcua_collector.status()},
        "mqtt": parts.broker.status() if parts.broker is not None else None,
        "journal": parts.journal.status(),
        "export": parts.exporter.status(),
        "offbox": parts.offbox.status(),
        "expiries": [
            {"name": name, "days_left": (expires_ns - now.judge_ns) // (86_400 * SECOND)}
            for name, expires_ns in dated(parts)
        ],
        "counters": dict(sorted(parts.metrics.counters.items())),
    }


def gauges(parts: Parts) -> dict[str, float]:
    gauges: dict[str, float] = {}
    for name, route in parts.routes.items():
        gauges[f'link_up{{asset="{name}"}}'] = route.link.up
        gauges[f'link_queued{{asset="{name}"}}'] = route.link.queued
        gauges[f'link_in_flight{{asset="{name}"}}'] = route.link.in_flight
    for name, server in parts.opcua.items():
        gauges[f'link_up{{asset="{name}"}}'] = server.links.up
        gauges[f'link_in_flight{{asset="{name}"}}'] = server.links.in_flight
        gauges[f'opcua_upstream_sessions{{asset="{name}"}}'] = len(server.links.open_now)
    for name, station in parts.opcua_collector.status().items():
        for what in ("items", "denied", "refused"):
            gauges[f'opcua_tags_{what}{{asset="{name}"}}'] = station[what]
    for quality, number in parts.values.qualities().items():
        gauges[f'tags{{quality="{quality}"}}'] = number
    for name, value in parts.journal.status().items():
        if isinstance(value, bool | int | float):
            gauges[f"journal_{name}"] = value
    for name, value in asdict(parts.decider.stats).items():
        if isinstance(value, bool | int | float):
            gauges[f"policy_{name}"] = value
    gauges.update(parts.exporter.gauges())
    for receiver in parts.offbox.status()["receivers"]:
        gauges[f'checkpoint_seen_size{{receiver="{receiver["name"]}"}}'] = receiver["seen"] or 0
    now = parts.now()
    people = parts.people.status(now)
    for name in ("windows", "break_glass"):
        gauges[f"people_{name}"] = len(people[name])
    for name, expires_ns in dated(parts):
        gauges[f'expires_in_seconds{{name="{name}"}}'] = (expires_ns - now.judge_ns) / SECOND
    return gauges


def dated(parts: Parts) -> list[tuple[str, int]]:
    """What expires, and when (ns since 1970): anchors by their zone, certificates by their file."""
    own, mqtt = parts.settings.gateway, parts.settings.north.mqtt
    files = {own.certificate} | {x.limits.certificate for x in parts.listeners if x.limits.certificate}
    if mqtt is not None:
        files.add(mqtt.certificate)
    files |= {each.syslog.certificate for each in parts.settings.audit.export if each.syslog is not None}
    found = [entry for trust in parts.trust.values() for entry in trust.expiries()]
    found += [entry for trusted in parts.applications.values() for entry in trusted.expiries()]
    doors = [each for each in parts.listeners if isinstance(each, OpcuaListener)]
    found += [entry for each in doors for entry in each.users.expiries()]
    active = parts.decider.bundle
    if active is not None and active.release is not None and active.release.expires_ns is not None:
        found.append(("policy", active.release.expires_ns))
    for file in sorted(files):
        name = f"certificate {_shown(file, parts.path.parent)}"
        try:
            found.append((name, expiry(file)))
        except IdentityError as error:
            parts.refused[name] = str(error)
    return found


def _shown(file: Path, folder: Path) -> str:
    """A file as the configuration names it: certificates of two zones often have one file name."""
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file)
