package site.demo

import future.keywords.not

# METADATA
# title: Nothing is changed unless the brake is free
# custom:
#   code: site.brake
#   iec62443: SR 3.6
deny contains {
	"code": "site.brake",
	"msg": "the plant's brake is on (data/brake.yaml); who put it on says when it ends",
} if {
	data.dmz.lib.changes
	not data.brake.writes == "free"
}
