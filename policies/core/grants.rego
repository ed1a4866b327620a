# METADATA
# title: Grants
# description: |
#   Rights are data (data/grants.yaml). A grant fits when every one of its conditions holds; a condition that
#   it does not name does not restrict it, except those that must be named: actions, protocols, who, for an
#   operation on an asset the asset, for Modbus and OPC UA what is addressed, for a publication the topics, for
#   a write over HTTPS the tags, for what people do to the gateway the operations.
package dmz.grants

import future.keywords.not

# METADATA
# title: Ids of the grants that allow the operation
matched contains data.grants[place].id if some place in given

# METADATA
# title: Places in data.grants of all that count
# description: Where a user stands on top of the subject, both must be granted, and what both owe adds up.
given := used if {
	input.subject.on_behalf_of == null
} else := used if {
	count(used) == 0
} else := used | user_used

# METADATA
# title: Places in data.grants of the grants that allow the operation
# description: |
#   Grants are alternatives, and the mildest way is taken: grants that need nothing more; else those whose
#   approval is given; else those for who has broken the glass; else those that wait for an approval. Of the
#   way that is taken all grants count, and their obligations add up.
used := plain if {
	not special
} else := approved if {
	count(approved) > 0
} else := shattered if {
	count(shattered) > 0
} else := waiting

# METADATA
# title: No grant allows it without an approval or a broken glass
special if count(plain) == 0

# Who asks comes first: of the grants that the index names for an asset, most are for other roles.
plain contains place if {
	grants := data.grants
	some place in places
	grant := grants[place]
	subject_fits(grant)
	input.op.action in grant.actions
	input.op.protocol in grant.protocols
	input.target.asset in object.get(grant, "assets", [null])
	target_fits(grant)
	conditions_fit(grant)
	not grant.break_glass
	not grant.approval
}

approved contains place if {
	some place in waiting
	data.dmz.lib.agreed(data.grants[place].approval.by)
}

shattered contains place if {
	some place in candidates
	grant := data.grants[place]
	grant.break_glass
	break_glass_fits(grant)
	target_fits(grant)
	conditions_fit(grant)
}

waiting contains place if {
	some place in candidates
	grant := data.grants[place]
	grant.approval
	target_fits(grant)
	conditions_fit(grant)
}

# METADATA
# title: Somebody may have to be asked, or told, before what is given is
heavy if {
	special
} else if {
	not input.subject.on_behalf_of == null
}

# METADATA
# title: Places in data.grants that allow the operation to the user on top of the subject
# description: |
#   The same grants, held against the user: by its name (`user:anna`, `token:ISSUER#SUBJECT`) or a role that
#   `role_bindings` gives it. What is kept for a broken glass is not given to a user: only who asks breaks it.
user_used := user_plain if {
	count(user_plain) > 0
} else := user_approved if {
	count(user_approved) > 0
} else := user_wanted

user_plain contains place if {
	some place in user_wanted
	not data.grants[place].approval
}

user_approved contains place if {
	some place in user_wanted
	data.dmz.lib.agreed(data.grants[place].approval.by)
}

user_wanted contains place if {
	is_string(input.subject.on_behalf_of)
	some place in places
	grant := data.grants[place]
	user_has(grant)
	input.op.action in grant.actions
	input.op.protocol in grant.protocols
	input.target.asset in object.get(grant, "assets", [null])
	target_fits(grant)
	conditions_fit(grant)
	not grant.break_glass
}

user_has(grant) if {
	input.subject.on_behalf_of in grant.subjects
} else if {
	some role in grant.roles
	role in data.role_bindings[input.subject.on_behalf_of]
}

# METADATA
# title: Places in data.grants that give this action over this protocol on this asset to this subject
candidates contains place if {
	some place in places
	grant := data.grants[place]
	subject_fits(grant)
	input.op.action in grant.actions
	input.op.protocol in grant.protocols
	input.target.asset in object.get(grant, "assets", [null])
}

# METADATA
# title: Places in data.grants where a grant for this action, protocol and asset can be
# description: |
#   From the index that the gateway makes of the grants when it loads them (gateway/policy/index.py), so that
#   a decision costs nothing for grants about something else. It only narrows: every condition is held against
#   the grant itself. Without an index (`opa test` on the source folders) all grants are looked at.
places := found if {
	input.target.asset != null
	found := object.get(data.grant_index.assets, [input.op.action, input.op.protocol, input.target.asset], [])
} else := found if {
	found := object.get(data.grant_index.others, [input.op.action, input.op.protocol], [])
} else := [place | some place, _ in data.grants]

# Those grants themselves: every rule of `near` goes through them, and fetching each by its place costs more.
wanting := [data.grants[place] | some place in candidates]

subject_fits(grant) if {
	input.subject.id in grant.subjects
} else if {
	input.subject.kind in grant.subject_kinds
} else if {
	some role in grant.roles
	role in data.dmz.lib.roles
}

# Most grants ask for nothing of this, and are done with it in one step.
conditions_fit(grant) if {
	not grant.operations
	not grant.listeners
	not grant.modes
	not grant.windows
	points_fit(grant)
} else if {
	operation_fits(grant)
	listener_fits(grant)
	mode_fits(grant)
	window_fits(grant)
	points_fit(grant)
}

points_fit(grant) if {
	not grant.tags
	not grant.limits
} else if {
	tags_fit(grant)
	limits_fit(grant)
}

# Acts on the gateway and what is read about them are named, never given by leaving them out.
operation_fits(grant) if {
	input.op.kind in grant.operations
} else if {
	not grant.operations
	not data.dmz.lib.on_gateway
}

listener_fits(grant) if {
	not grant.listeners
} else if {
	input.conn.listener in grant.listeners
}

mode_fits(grant) if {
	not grant.modes
} else if {
	input.state.mode in grant.modes
}

window_fits(grant) if {
	not grant.windows
} else if {
	input.time.trusted
	some window in grant.windows
	window in input.time.windows
}

# METADATA
# title: Who has broken the glass, a person for themselves and for a time, has the grants that are kept for it
break_glass_fits(grant) if {
	not grant.break_glass
} else if {
	is_string(input.state.break_glass)
}

# What must be named of what an operation is about, by protocol. An area fits Modbus only, and is the common case.
target_fits(grant) if {
	some area in grant.modbus
	area_fits(area)
} else if {
	input.op.protocol == "opcua"
	nodes_fit(grant)
} else if {
	data.dmz.lib.on_gateway
	operation_fits(grant)
	scope_fits(grant)
	value_fits(grant)
	minutes_fits(grant)
} else if {
	input.op.protocol in {"https", "mqtt"}
	not data.dmz.lib.on_gateway
	topic_fits(grant)
	consumer_fits(grant)
	format_fits(grant)
	tags_fit(grant)
}

addresses_fit(grant) if {
	some area in grant.modbus
	area_fits(area)
} else if {
	input.op.protocol != "modbus"
}

nodes_fit(grant) if {
	some area in grant.opcua
	service_fits(area)
	part_of(area)
	pace_fits(area)
} else if {
	input.op.protocol != "opcua"
}

service_fits(area) if {
	not area.services
} else if {
	input.opcua.service in area.services
} else if {
	delivers
	"CreateSubscription" in area.services
}

# Who may have a subscription may have what it brings.
delivers if input.opcua.service in {"Publish", "Republish"}

# Without nodes and paths an entry gives the services that name no node.
part_of(area) if {
	input.op.action == "call"
	input.opcua.method in area.methods
	node_fits(area)
	arguments_fit(area)
} else if {
	input.op.action == "browse"
	not area.methods
	node_fits(area)
} else if {
	input.op.action in {"read", "write", "subscribe"}
	not area.methods
	input.opcua.node != null
	input.opcua.attribute in object.get(area, "attributes", ["Value"])
	node_fits(area)
} else if {
	input.op.action == "subscribe"
	input.opcua.node == null
	not area.nodes
	not area.paths
	not area.methods
	is_array(area.services)
}

# A path leads to a node only as long as nobody changes the address space, so nothing is changed by it.
node_fits(area) if {
	input.opcua.node in area.nodes
} else if {
	not data.dmz.lib.changes
	some node in area.nodes
	begins(input.opcua.node, node, "*")
} else if {
	not data.dmz.lib.changes
	input.opcua.path in area.paths
} else if {
	not data.dmz.lib.changes
	some path in area.paths
	endswith(path, "/#")
	begins(input.opcua.path, path, "#")
}

begins(text, pattern, ending) if {
	is_string(text)
	endswith(pattern, ending)
	startswith(text, substring(pattern, 0, count(pattern) - 1))
}

# One bound for each argument, in their order.
arguments_fit(area) if {
	not area.arguments
} else if {
	is_array(input.opcua.arguments)
	count(area.arguments) == count(input.opcua.arguments)
	every place, bound in area.arguments {
		argument_fits(input.opcua.arguments[place], bound)
	}
}

argument_fits(value, bound) if {
	value in bound.one_of
} else if {
	is_number(value)
	value >= bound.min
	value <= bound.max
} else if {
	bound.any
}

# How often somebody asks, and how far back.
pace_fits(area) if {
	not area.min_interval_ms
	not area.most_history_s
} else if {
	interval_fits(area)
	history_fits(area)
}

interval_fits(area) if {
	not area.min_interval_ms
} else if {
	input.op.action != "subscribe"
} else if {
	unpaced
} else if {
	input.opcua.sampling_ms >= area.min_interval_ms
} else if {
	not input.opcua.sampling_ms >= 0
	input.opcua.publishing_ms >= area.min_interval_ms
}

# Services that ask for nothing more often than it was asked for already.
unpaced if input.opcua.service in {
	"SetPublishingMode", "DeleteSubscriptions", "TransferSubscriptions", "Publish", "Republish",
	"SetMonitoringMode", "SetTriggering", "DeleteMonitoredItems",
}

# Both ends must be given: an open end is the whole history. Null is below every number.
history_fits(area) if {
	not area.most_history_s
} else if {
	input.opcua.service != "HistoryRead"
} else if {
	input.opcua.history_start_ns >= 0
	input.opcua.history_end_ns >= 0
	abs(input.opcua.history_end_ns - input.opcua.history_start_ns) <= area.most_history_s * 1000000000
}

# Null is below every number, so `>= 0` holds for numbers only. The whole range must lie inside one range of the grant: two neighbouring ranges are not one.
area_fits(area) if {
	area.table == input.modbus.table
	function_fits(area)
	input.modbus.start >= 0
	input.modbus.count > 0
	some range in area.ranges
	range[0] <= input.modbus.start
	input.modbus.start + input.modbus.count <= range[1] + 1
} else if {
	not area.table
	input.modbus.table == null
	input.modbus.fc in area.fcs
	part_fits(area)
}

# 24 reads a queue that nobody has declared the length of, so the address of its pointer does not give it.
function_fits(area) if {
	not area.fcs
	input.modbus.fc != 24
} else if {
	input.modbus.fc in area.fcs
}

# Functions that address no table: what of them the area gives.
part_fits(area) if {
	input.modbus.fc in {7, 11, 12, 17}
} else if {
	input.modbus.fc == 8
	input.modbus.sub in area.subs
} else if {
	input.modbus.fc == 43
	input.modbus.mei in area.meis
} else if {
	input.modbus.fc in {20, 21}
	input.modbus.record >= 0
	input.modbus.count > 0
	some files in area.files
	files[0] <= input.modbus.file
	input.modbus.file <= files[1]
	some records in area.records
	records[0] <= input.modbus.record
	input.modbus.record + input.modbus.count <= records[1] + 1
}

# Over HTTPS a write names nothing but its tags, so the grant must.
tags_fit(grant) if {
	not grant.tags
	not written_by_name
} else if {
	count(input.points) > 0
	every point in input.points {
		point.tag in grant.tags
	}
}

written_by_name if {
	input.op.protocol == "https"
	input.op.action == "write"
}

# A write with limits must touch tags, and each of them must have its limit: what cannot be judged is not in.
limits_fit(grant) if {
	not grant.limits
} else if {
	not data.dmz.lib.changes
} else if {
	count(input.points) > 0
	every point in input.points {
		limit := grant.limits[point.tag]
		point.q >= limit.min
		point.q <= limit.max
		data.dmz.lib.known(point)
		step_fits(point, limit)
	}
}

# The step is judged against the last value polled.
step_fits(point, limit) if {
	not limit.max_delta
} else if {
	data.dmz.lib.young(point)
	abs(point.q - point.q_prev) <= limit.max_delta
}

topic_fits(grant) if {
	not grant.topics
	input.op.action != "publish"
} else if {
	input.northbound.topic in grant.topics
} else if {
	some topic in grant.topics
	endswith(topic, "/#")
	begins(input.northbound.topic, topic, "#")
}

consumer_fits(grant) if {
	not grant.consumers
} else if {
	input.northbound.consumer in grant.consumers
}

format_fits(grant) if {
	not grant.formats
} else if {
	input.northbound.format in grant.formats
}

# Null is the whole gateway, which a grant calls `gateway`.
scope_fits(grant) if {
	not grant.scopes
} else if {
	input.admin.scope in grant.scopes
} else if {
	input.admin.scope == null
	"gateway" in grant.scopes
}

value_fits(grant) if {
	not grant.values
} else if {
	input.admin.value in grant.values
}

# What would not end by itself is not for a time, unless it is itself an end or an answer.
minutes_fits(grant) if {
	not grant.most_minutes
} else if {
	input.op.kind in {"admin.close_window", "admin.end_break_glass", "admin.approve", "admin.refuse"}
} else if {
	input.admin.minutes > 0
	input.admin.minutes <= grant.most_minutes
}

# METADATA
# title: Nothing gives this action on this asset to this subject
none contains {
	"code": "grant.none",
	"msg": "no grant gives this action over this protocol on this asset to this subject or its bound roles",
} if {
	count(candidates) == 0
}

# METADATA
# title: What a grant for this subject, action and asset still lacks
near contains {"code": "grant.operation", "msg": misses(grant, "other operations")} if {
	some grant in wanting
	not operation_fits(grant)
}

# A rule costs the engine some µs even where it says nothing, so these are asked only if one of them can speak:
# where conditions_fit holds, so does each of the four.
near contains lack if {
	some grant in wanting
	not conditions_fit(grant)
	some lack in near_conditions
}

# METADATA
# title: What a grant for this subject, action and asset still lacks
near_conditions contains {"code": "grant.listener", "msg": misses(grant, "other listeners")} if {
	some grant in wanting
	not listener_fits(grant)
}

near_conditions contains {"code": "grant.mode", "msg": misses(grant, "other modes of the plant")} if {
	some grant in wanting
	not mode_fits(grant)
}

near_conditions contains {"code": "grant.window", "msg": misses(grant, "other times, and needs a trusted clock")} if {
	some grant in wanting
	not window_fits(grant)
}

near contains {"code": "grant.addresses", "msg": misses(grant, "other addresses or functions")} if {
	input.op.protocol == "modbus"
	some grant in wanting
	not addresses_fit(grant)
}

near contains {"code": "grant.nodes", "msg": misses(grant, "other nodes, services, attributes, arguments, intervals or spans")} if {
	input.op.protocol == "opcua"
	some grant in wanting
	not nodes_fit(grant)
}

near contains {"code": "grant.tags", "msg": misses(grant, "other tags")} if {
	some grant in wanting
	not tags_fit(grant)
}

near_conditions contains {"code": "grant.limits", "msg": misses(grant, "other values, or smaller steps from a known value")} if {
	some grant in wanting
	not limits_fit(grant)
}

# What only publications and HTTPS have.
near contains lack if {
	input.op.protocol in {"https", "mqtt"}
	some lack in near_northbound
}

# METADATA
# title: What a grant for this subject, action and asset still lacks
near_northbound contains {"code": "grant.topic", "msg": misses(grant, "other topics")} if {
	some grant in wanting
	not topic_fits(grant)
}

near_northbound contains {"code": "grant.consumer", "msg": misses(grant, "other consumers")} if {
	some grant in wanting
	not consumer_fits(grant)
}

near_northbound contains {"code": "grant.format", "msg": misses(grant, "other formats")} if {
	some grant in wanting
	not format_fits(grant)
}

# What only acts on the gateway have.
near contains lack if {
	data.dmz.lib.on_gateway
	some lack in near_gateway
}

# METADATA
# title: What a grant for this subject, action and asset still lacks
near_gateway contains {"code": "grant.scope", "msg": misses(grant, "other listeners, assets or less than the whole gateway")} if {
	some grant in wanting
	not scope_fits(grant)
}

near_gateway contains {"code": "grant.value", "msg": misses(grant, "other windows, stages, modes or values")} if {
	some grant in wanting
	not value_fits(grant)
}

near_gateway contains {"code": "grant.minutes", "msg": misses(grant, "a shorter time")} if {
	some grant in wanting
	not minutes_fits(grant)
}

near contains {"code": "grant.needs_break_glass", "msg": misses(grant, "who has broken the glass")} if {
	some grant in wanting
	grant.break_glass
	not break_glass_fits(grant)
}

misses(grant, what) := concat(" ", ["grant", grant.id, "is for", what])
