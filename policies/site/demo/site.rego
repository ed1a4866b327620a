# METADATA
# title: Rules of the demo plant
package site.demo

import future.keywords.not

# METADATA
# title: Pump speed is set locally
# custom:
#   code: site.pump_speed_local
#   iec62443: SR 2.1
deny contains {
	"code": "site.pump_speed_local",
	"msg": "the pump speed (plc-1 holding 1) is set at the local panel only, whoever asks",
} if {
	data.dmz.lib.changes
	input.target.asset == "plc-1"
	data.dmz.lib.touches("holding", 1)
}
