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
# title: What policy data says about the asset that the operation names
# description: Undefined where the operation names none, or one that policy data does not know.
asset := data.assets[input.target.asset]

# METADATA
# title: The roles that count for the subject
# description: |
#   Over Modbus a role that the certificate claims counts only where `role_bindings` lists it for that very
#   subject; elsewhere, and for the gateway itself, roles come from the bindings alone.
roles contains role if {
	input.op.protocol == "modbus"
	input.subject.auth == "mtls"
	input.subject.role_state == "ok"
	some role in input.subject.roles
	role in data.role_bindings[input.subject.id]
}

roles contains role if {
	bindings_alone
	some role in data.role_bindings[input.subject.id]
}

bindings_alone if input.op.protocol != "modbus"

bindings_alone if input.subject.auth == "internal"

# METADATA
# title: The operation touches this address of this table
touches(table, address) if {
	input.modbus.table == table
	is_number(input.modbus.start)
	is_number(input.modbus.count)
	input.modbus.start <= address
	address < input.modbus.start + input.modbus.count
}
