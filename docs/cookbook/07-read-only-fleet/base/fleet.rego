# METADATA
# title: Fleets that are only read
package base.fleet

import future.keywords.not

# METADATA
# title: Nothing changes a meter
# custom:
#   code: base.meters_read_only
#   iec62443: SR 2.1
deny contains {
	"code": "base.meters_read_only",
	"msg": "meters are only read; reset or re-address them at the device",
} if {
	data.dmz.lib.changes
	data.dmz.lib.asset.kind == "meter"
}
