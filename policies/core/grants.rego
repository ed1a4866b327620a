# METADATA
# title: Grants
# description: |
#   Rights are data (data/grants.yaml). A grant matches when every one of its conditions holds; a condition
#   that it does not name does not restrict it, except those that must be named: actions, protocols, who, for
#   an operation on an asset the asset, for Modbus the addresses, for a publication the topics.
package dmz.grants

import future.keywords.not

# METADATA
# title: Ids of the grants that allow the operation
matched contains grant.id if {
	some place in candidates
	grant := data.grants[place]
	operation_fits(grant)
	listener_fits(grant)
	mode_fits(grant)
	window_fits(grant)
	addresses_fit(grant)
	tags_fit(grant)
	limits_fit(grant)
	topic_fits(grant)
}

# METADATA
# title: Places in data.grants that give this action over this protocol on this asset to this subject
candidates contains place if {
	some place, grant in data.grants
	input.op.action in grant.actions
	input.op.protocol in grant.protocols
	asset_fits(grant)
	subject_fits(grant)
}

asset_fits(grant) if input.target.asset in grant.assets

asset_fits(grant) if {
	input.target.asset == null
	not grant.assets
}

subject_fits(grant) if {
	some role in grant.roles
	role in data.dmz.lib.roles
}

subject_fits(grant) if input.subject.id in grant.subjects

subject_fits(grant) if input.subject.kind in grant.subject_kinds

operation_fits(grant) if not grant.operations

operation_fits(grant) if input.op.kind in grant.operations

listener_fits(grant) if not grant.listeners

listener_fits(grant) if input.conn.listener in grant.listeners

mode_fits(grant) if not grant.modes

mode_fits(grant) if input.state.mode in grant.modes

window_fits(grant) if not grant.windows

window_fits(grant) if {
	input.time.trusted
	some window in grant.windows
	window in input.time.windows
}

addresses_fit(_) if input.op.protocol != "modbus"

# The whole range must lie inside one range of the grant: two neighbouring ranges are not one.
addresses_fit(grant) if {
	input.op.protocol == "modbus"
	is_number(input.modbus.start)
	is_number(input.modbus.count)
	input.modbus.count > 0
	some area in grant.modbus
	area.table == input.modbus.table
	function_fits(area)
	some range in area.ranges
	range[0] <= input.modbus.start
	input.modbus.start + input.modbus.count <= range[1] + 1
}

function_fits(area) if not area.fcs

function_fits(area) if input.modbus.fc in area.fcs

tags_fit(grant) if not grant.tags

tags_fit(grant) if {
	count(input.points) > 0
	every point in input.points {
		point.tag in grant.tags
	}
}

limits_fit(grant) if not grant.limits

limits_fit(_) if not data.dmz.lib.changes

# A write with limits must touch tags, and each of them must have its limit: what cannot be judged is not in.
limits_fit(grant) if {
	count(input.points) > 0
	every point in input.points {
		limit := grant.limits[point.tag]
		is_number(point.q)
		point.q >= limit.min
		point.q <= limit.max
		step_fits(point, limit)
	}
}

step_fits(_, limit) if not limit.max_delta

# The step is judged against the last value polled, which must be young enough to mean anything.
step_fits(point, limit) if {
	is_number(point.q_prev)
	is_number(point.age_ms)
	point.age_ms <= data.bounds.previous_age_ms
	abs(point.q - point.q_prev) <= limit.max_delta
}

topic_fits(_) if input.op.action != "publish"

topic_fits(grant) if {
	some topic in grant.topics
	topic == input.northbound.topic
}

topic_fits(grant) if {
	some topic in grant.topics
	endswith(topic, "/#")
	is_string(input.northbound.topic)
	startswith(input.northbound.topic, substring(topic, 0, count(topic) - 1))
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
	some place in candidates
	grant := data.grants[place]
	not operation_fits(grant)
}

near contains {"code": "grant.listener", "msg": misses(grant, "other listeners")} if {
	some place in candidates
	grant := data.grants[place]
	not listener_fits(grant)
}

near contains {"code": "grant.mode", "msg": misses(grant, "other modes of the plant")} if {
	some place in candidates
	grant := data.grants[place]
	not mode_fits(grant)
}

near contains {"code": "grant.window", "msg": misses(grant, "other times, and needs a trusted clock")} if {
	some place in candidates
	grant := data.grants[place]
	not window_fits(grant)
}

near contains {"code": "grant.addresses", "msg": misses(grant, "other addresses or functions")} if {
	some place in candidates
	grant := data.grants[place]
	not addresses_fit(grant)
}

near contains {"code": "grant.tags", "msg": misses(grant, "other tags")} if {
	some place in candidates
	grant := data.grants[place]
	not tags_fit(grant)
}

near contains {"code": "grant.limits", "msg": misses(grant, "other values, or smaller steps from a known value")} if {
	some place in candidates
	grant := data.grants[place]
	not limits_fit(grant)
}

near contains {"code": "grant.topic", "msg": misses(grant, "other topics")} if {
	some place in candidates
	grant := data.grants[place]
	not topic_fits(grant)
}

misses(grant, what) := concat(" ", ["grant", grant.id, "is for", what])
