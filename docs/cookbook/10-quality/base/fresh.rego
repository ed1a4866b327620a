# METADATA
# title: What IT gets is good and young
package base.fresh

import future.keywords.not

# METADATA
# title: Values for IT are good, and of the last five seconds
# custom:
#   iec62443: SR 3.5
obligation contains {"type": "quality", "max_age_ms": 5000} if {
	input.op.protocol in {"https", "mqtt"}
	input.op.action in {"read", "publish", "subscribe"}
	count(input.points) > 0
}
