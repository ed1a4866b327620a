# METADATA
# title: A budget of writes
package base.budget

import future.keywords.not

# METADATA
# title: A machine writes at most six times a minute to an asset
# custom:
#   iec62443: SR 7.1
obligation contains {"type": "rate", "n": 6, "per_s": 60} if {
	data.dmz.lib.changes
	input.subject.kind == "workload"
}
