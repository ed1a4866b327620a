package site.demo

import future.keywords.not

# METADATA
# title: A machine changes only the assets of its own area
# custom:
#   code: site.other_area
#   iec62443: SR 2.1
deny contains {
	"code": "site.other_area",
	"msg": "the asset is not in the area of this machine (data/areas.yaml)",
} if {
	data.dmz.lib.changes
	not input.subject.kind == "person"
	not at_home(input.subject.id)
}

at_home(subject) if input.target.asset in data.areas[subject]
