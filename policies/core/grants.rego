# METADATA
# title: Grants
# description: |
#   Rights are data (data/grants.yaml). A grant fits when every one of its conditions holds; a condition that
#   it does not name does not restrict it, except those that must be named: actions, protocols, who, for an
#   operation on an asset the asset, for Modbus what is addressed, for a publication the topics.
package dmz.grants

import future.keywords.not

# METADATA
# title: Ids of the grants that allow the operation
matched contains data.grants[place].id if some place in fitting

# METADATA
# title: Places in data.grants of the grants that allow the operation
fitting contains place if {
	grants := data.grants
	some place in places
	grant := grants[place]
	input.op.action in grant.actions
	input.op.protocol in grant.protocols
	input.target.asset in object.get(grant, "assets", [null])
	subject_fits(grant)
	addresses_fit(grant)
	conditions_fit(grant)
}

# METADATA
# title: Places in data.grants that give this action over this protocol on this asset to this subject
candidates contains place if {
	some place in places
	grant := data.grants[place]
	input.op.action in grant.actions
	input.op.protocol in grant.protocols
	input.target.asset in object.get(grant, "assets", [null])
	subject_fits(grant)
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
	input.op.action != "publish"
	points_fit(grant)
} else if {
	operation_fits(grant)
	listener_fits(grant)
	mode_fits(grant)
	window_fits(grant)
	topic_fits(grant)
	points_fit(grant)
}

points_fit(grant) if {
	not grant.tags
	not grant.limits
} else if {
	tags_fit(grant)
	limits_fit(grant)
}

operation_fits(grant) if {
	not grant.operations
} else if {
	input.op.kind in grant.operations
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

addresses_fit(grant) if {
	some area in grant.modbus
	area_fits(area)
} else if {
	input.op.protocol != "modbus"
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

tags_fit(grant) if {
	not grant.tags
} else if {
	count(input.points) > 0
	every point in input.points {
		point.tag in grant.tags
	}
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
	input.op.action != "publish"
} else if {
	input.northbound.topic in grant.topics
} else if {
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
