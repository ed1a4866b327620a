# METADATA
# title: Guardrails
# description: |
#   What no grant and no site rule can allow, in any mode. Those about OPC UA are in dmz.opcua, those about acts
#   on the gateway in dmz.people.
package dmz.guardrails

import future.keywords.not

# METADATA
# title: The asset must be one that policy data knows
# custom:
#   code: guardrail.unknown_asset
#   iec62443: SR 5.2
deny contains {
	"code": "guardrail.unknown_asset",
	"msg": "policy data lists no such asset; add it to data/assets.yaml",
} if {
	not data.dmz.lib.asset
	asset_needed
}

asset_needed if {
	input.op.protocol in {"modbus", "opcua"}
} else if {
	input.target.asset != null
}

# METADATA
# title: Each way in and out can do only so much
# description: A broker says nothing of who publishes, so nothing is written over MQTT.
# custom:
#   code: guardrail.action
#   iec62443: SR 7.7
deny contains {
	"code": "guardrail.action",
	"msg": "this cannot be done over this protocol",
} if {
	not possible(input.op.protocol)
}

# The same as WAYS in gateway/policy/grants.py.
possible(protocol) if {
	protocol == "modbus"
	input.op.action in {"read", "write", "call"}
} else if {
	protocol == "opcua"
	input.op.action in {"read", "write", "call", "browse", "subscribe"}
} else if {
	protocol == "https"
	input.op.action in {"read", "browse", "subscribe", "write", "admin"}
} else if {
	protocol == "mqtt"
	input.op.action in {"publish", "subscribe"}
} else if {
	protocol == "control"
	input.op.action in {"read", "admin"}
}

# METADATA
# title: Over Modbus the certificate must carry exactly one well-formed role
# custom:
#   code: guardrail.role_state
#   iec62443: SR 2.1
deny contains {
	"code": "guardrail.role_state",
	"msg": "the certificate carries no role, or a malformed one (Modbus/TCP Security R-20 to R-23, R-65)",
} if {
	input.op.protocol == "modbus"
	input.subject.auth == "mtls"
	not input.subject.role_state == "ok"
}

# METADATA
# title: Functions that are never forwarded
# description: |
#   User-defined and reserved codes, and 90, 125 and 126, with which vendors program devices. 8 only with the
#   sub-functions that merely read or echo, 43 only to read the identification of a device. The loader refuses
#   grants for them as well (gateway/policy/areas.py).
# custom:
#   code: guardrail.never_forward
#   iec62443: SR 7.7
deny contains {
	"code": "guardrail.never_forward",
	"msg": "this function code is never forwarded",
} if {
	input.op.protocol == "modbus"
	not forwardable(input.modbus.fc)
}

forwardable(code) if {
	code in {1, 2, 3, 4, 5, 6, 15, 16}
} else if {
	code in {7, 11, 12, 17, 20, 21, 22, 23, 24}
} else if {
	code == 8
	input.modbus.sub in {0, 2, 11, 12, 13, 14, 15, 16, 17, 18}
} else if {
	code == 43
	input.modbus.mei == 14
}

# METADATA
# title: No write to all devices at once
# custom:
#   code: guardrail.broadcast_write
#   iec62443: SR 3.5
deny contains {
	"code": "guardrail.broadcast_write",
	"msg": "a write to unit 0 reaches every device on the line and none of them answers",
} if {
	data.dmz.lib.changes
	input.op.protocol == "modbus"
	not input.modbus.unit > 0
}

# METADATA
# title: Safety systems are read only
# custom:
#   code: guardrail.safety_read_only
#   iec62443: SR 5.2
deny contains {
	"code": "guardrail.safety_read_only",
	"msg": "a safety system is never changed through the gateway",
} if {
	data.dmz.lib.acts
	safety
}

safety if {
	data.dmz.lib.asset.kind == "safety"
} else if {
	input.target.kind == "safety"
}

# METADATA
# title: Traffic between zones needs a conduit
# custom:
#   code: guardrail.conduit
#   iec62443: SR 5.1
deny contains {
	"code": "guardrail.conduit",
	"msg": "no conduit leads from the listener's zone to the asset's zone for this protocol",
} if {
	asset := data.dmz.lib.asset
	not conduit(asset.zone)
}

conduit(zone) if {
	some way in data.conduits
	way.from == input.conn.zone
	way.to == zone
	input.op.protocol in way.protocols
}

# METADATA
# title: The subject must be of a known form and authenticated as that form requires
# custom:
#   code: guardrail.identity
#   iec62443: SR 1.1
deny contains {
	"code": "guardrail.identity",
	"msg": "the subject is not of a known form, or not authenticated as its form requires",
} if {
	not identified(input.subject.auth)
}

identified(auth) if {
	certified(auth)
	input.subject.kind in {"workload", "person", "gateway"}
	some form in ["spiffe://", "urn:", "x509:"]
	startswith(input.subject.id, form)
} else if {
	auth == "internal"
	input.subject.kind == "gateway"
	startswith(input.subject.id, "spiffe://")
} else if {
	auth == "control"
	input.subject.kind == "local"
	input.op.protocol == "control"
	startswith(input.subject.id, "local:")
} else if {
	auth == "none"
	input.subject.kind == "nobody"
	input.op.protocol == "modbus"
	is_string(input.conn.listener)
	input.subject.id == concat("", ["anonymous:", input.conn.listener])
}

# By a TLS handshake, or by the secure channel of OPC UA: each door has its own way.
certified(auth) if {
	auth == "mtls"
	not input.op.protocol in {"control", "opcua"}
} else if {
	auth == "opcua"
	input.op.protocol == "opcua"
}

# METADATA
# title: Nobody gets only what is granted to nobody on this very listener
# description: |
#   A listener without TLS identifies nobody. No role counts, no grant to others, and no act on the gateway.
# custom:
#   code: guardrail.nobody
#   iec62443: SR 1.2
deny contains {
	"code": "guardrail.nobody",
	"msg": "who comes without TLS needs a grant with subject_kinds: [nobody] that names this listener",
} if {
	input.subject.kind == "nobody"
	not granted_to_nobody
}

granted_to_nobody if {
	input.op.action != "admin"
	some place in data.dmz.grants.used
	grant := data.grants[place]
	"nobody" in grant.subject_kinds
	input.conn.listener in grant.listeners
}

# METADATA
# title: Who asks for a user needs grants for both
# description: |
#   A user or token on top of an application (`on_behalf_of`) takes nothing away from what the application must be
#   granted itself, and gets nothing by it.
# custom:
#   code: guardrail.on_behalf_of
#   iec62443: SR 2.1
deny contains {
	"code": "guardrail.on_behalf_of",
	"msg": "no grant gives this to the user on top, by name or by a role that role_bindings give it",
} if {
	not input.subject.on_behalf_of == null
	not user_granted
}

user_granted if count(data.dmz.grants.user_used) > 0

# METADATA
# title: Nothing changes while the plant is frozen
# custom:
#   code: guardrail.freeze
#   iec62443: SR 3.6
deny contains {
	"code": "guardrail.freeze",
	"msg": "writes are frozen (gateway.freeze)",
} if {
	data.dmz.lib.changes
	not input.state.freeze == false
}

# METADATA
# title: Without a fresh revocation list nothing is changed
# custom:
#   code: guardrail.crl
#   iec62443: SR 1.8
deny contains {
	"code": "guardrail.crl",
	"msg": "the revocation list is missing, or stale beyond its grace; put a new one in place",
} if {
	data.dmz.lib.acts
	not input.state.crl in {"fresh", "stale"}
}

# METADATA
# title: Without a believed clock nothing is changed
# custom:
#   code: guardrail.clock
#   iec62443: SR 2.11
deny contains {
	"code": "guardrail.clock",
	"msg": "the clock has been untrusted for longer than its grace; set it",
} if {
	data.dmz.lib.acts
	not input.state.clock in {"trusted", "untrusted"}
}

# METADATA
# title: A subject writes to an asset only so often
# custom:
#   code: guardrail.write_budget
#   iec62443: SR 7.1
deny contains {
	"code": "guardrail.write_budget",
	"msg": "the subject has used up its writes to this asset for the last 60 seconds (bounds.writes_60s)",
} if {
	data.dmz.lib.changes
	not within_budget(input.state.writes_60s)
}

# Null, a count that nobody knows, is below every number.
within_budget(writes) if {
	writes >= 0
	writes < data.bounds.writes_60s
}

# METADATA
# title: A written value, and the step to it, stays within the bounds of its tag, whatever a grant says
# custom:
#   code: guardrail.bounds
#   iec62443: SR 3.5
deny contains {
	"code": "guardrail.bounds",
	"msg": "the value or the step lies outside the bounds of its tag (bounds.limits), or nobody knows what it would be",
} if {
	data.dmz.lib.changes
	is_array(input.points)
	some point in input.points
	bound := data.bounds.limits[point.tag]
	not inside(point, bound)
}

inside(point, bound) if {
	data.dmz.lib.known(point)
	point.q >= bound.min
	point.q <= bound.max
	reached(point, bound)
}

# The step is judged against the last value polled.
reached(point, bound) if {
	not bound.max_delta
} else if {
	data.dmz.lib.young(point)
	abs(point.q - point.q_prev) <= bound.max_delta
}
