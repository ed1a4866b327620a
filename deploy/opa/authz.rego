# METADATA
# title: What OPA answers
# description: |
#   The one decision, and whether it is well. Nobody reads or changes policy and data over the API: they come as
#   signed bundles. With TLS, who has no certificate of the zone does not get as far as this.
package system.authz

default allow := false

allow if {
	input.method == "POST"
	input.path == ["v1", "data", "dmz", "decision"]
}

allow if {
	input.method == "GET"
	input.path == ["health"]
}
