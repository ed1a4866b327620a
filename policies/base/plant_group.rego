# METADATA
# title: Rules of the plant group's security team, the same in every plant
package base.plant_group

import future.keywords.not

# METADATA
# title: Nothing is written from IT
# custom:
#   code: base.write_from_it
#   iec62443: SR 5.1
deny contains {
	"code": "base.write_from_it",
	"msg": "IT reads; changes are made from the plant zone",
} if {
	data.dmz.lib.changes
	input.conn.zone == "it"
}

# METADATA
# title: Every change is audited
obligation contains {"type": "audit"} if data.dmz.lib.acts
