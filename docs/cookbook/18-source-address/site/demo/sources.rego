package site.demo

import future.keywords.not

# METADATA
# title: A subject that has networks of its own comes from one of them
# custom:
#   code: site.source
#   iec62443: SR 5.2
deny contains {
	"code": "site.source",
	"msg": "the subject comes from an address that is not its own (data/sources.yaml)",
} if {
	data.sources[input.subject.id]
	not from_home(input.conn.src)
}

from_home(address) if {
	some network in data.sources[input.subject.id]
	net.cidr_contains(network, address)
}
