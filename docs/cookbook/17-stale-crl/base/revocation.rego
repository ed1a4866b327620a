# METADATA
# title: No grace for revocation lists
package base.revocation

import future.keywords.not

# METADATA
# title: Nothing is changed unless the revocation list is fresh
# custom:
#   code: base.crl_not_fresh
#   iec62443: SR 1.8
deny contains {
	"code": "base.crl_not_fresh",
	"msg": "the revocation list is not fresh; put a new one in place, reads go on",
} if {
	data.dmz.lib.acts
	not input.state.crl == "fresh"
}
