package site.demo

import future.keywords.not

# METADATA
# title: Who opens the valve (coil 1) stops the pump (coil 0) in the same write
# custom:
#   code: site.valve_with_pump
#   iec62443: SR 3.5
deny contains {
	"code": "site.valve_with_pump",
	"msg": "open the valve of plc-1 by one write (function 15) that stops the pump as well",
} if {
	data.dmz.lib.changes
	input.target.asset == "plc-1"
	data.dmz.lib.touches("coil", 1)
	not becomes(1, 0)
	not becomes(0, 0)
}

# Undefined where the write does not say what the coil becomes.
becomes(coil, value) if {
	data.dmz.lib.touches("coil", coil)
	input.modbus.values[coil - input.modbus.start] == value
}
