# METADATA
# title: Words that core, base and site rules share
package dmz.lib

import future.keywords.not

# METADATA
# title: The operation would change something in the plant
changes if input.op.action in {"write", "call"}

# METADATA
# title: The operation would change something, the gateway included
acts if input.op.action in {"write", "call", "admin"}

# METADATA
# title: The operation is about the gateway itself
on_gateway if {
	input.op.protocol == "control"
} else if {
	input.op.protocol == "https"
	input.op.action == "admin"
} else if {
	input.op.protocol == "https"
	startswith(input.op.kind, "admin.")
} else if {
	reviewing
}

# METADATA
# title: Somebody looks into the journal
reviewing if {
	input.op.protocol == "https"
	startswith(input.op.kind, "audit.")
}

# METADATA
# title: What policy data says about the asset that the operation names
# description: Undefined where the operation names none, or one that policy data does not know.
asset := data.assets[input.target.asset]

# METADATA
# title: The roles that count for the subject
# description: |
#   Over Modbus a role that the certificate claims counts only where `role_bindings` lists it for that very
#   subject; elsewhere, and for the gateway itself, roles come from the bindings alone. Nobody has none.
roles contains role if {
	input.op.protocol == "modbus"
	input.subject.auth == "mtls"
	input.subject.role_state == "ok"
	is_array(input.subject.roles)
	some role in input.subject.roles
	role in data.role_bindings[input.subject.id]
}

roles contains role if {
	input.op.protocol != "modbus"
	input.subject.auth != "none"
	some role in data.role_bindings[input.subject.id]
}

roles contains role if {
	input.subject.auth == "internal"
	some role in data.role_bindings[input.subject.id]
}

# METADATA
# title: Somebody else who has that role has approved exactly this operation
# description: Nobody approves what they, or those they act for, want themselves. Roles come from the bindings.
agreed(role) if {
	is_array(input.state.approval.by)
	some person in input.state.approval.by
	person != input.subject.id
	person != input.subject.on_behalf_of
	role in data.role_bindings[person]
}

# METADATA
# title: The operation touches this address of this table
# description: Null is below every number, so `>= 0` holds for numbers only.
touches(table, address) if {
	input.modbus.table == table
	input.modbus.start >= 0
	input.modbus.count >= 0
	input.modbus.start <= address
	address < input.modbus.start + input.modbus.count
}

# METADATA
# title: What the point would become is known
# description: |
#   A mask leaves bits as they are when the device applies it. What the whole becomes is judged by the last
#   value polled, which must be young enough to mean anything.
known(point) if {
	point.q != null
	not is_number(input.modbus.and_mask)
} else if {
	point.q != null
	young(point)
}

# METADATA
# title: The last value polled is young enough to mean anything
young(point) if {
	point.q_prev != null
	point.age_ms >= 0
	point.age_ms <= data.bounds.previous_age_ms
}
