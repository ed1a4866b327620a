package site.demo

import future.keywords.not

# METADATA
# title: Changes are made on weekdays, by a clock that is believed
# custom:
#   code: site.weekend
#   iec62443: SR 2.1
deny contains {
	"code": "site.weekend",
	"msg": "changes are made Monday to Friday, 6 to 20 o'clock, by a clock that is believed",
} if {
	data.dmz.lib.changes
	not weekday(input.time.trusted)
}

weekday(believed) if {
	believed
	"weekdays" in input.time.windows
}
