# METADATA
# title: The decision
# description: |
#   Answers `data.dmz.decision` (dmz.decision/1) to a question (dmz.input/1). Allow needs at least one grant
#   that matches and no denial: guardrails, base and site may each deny, none of them can allow. What is
#   missing, undefined or empty means no.
package dmz

import future.keywords.not

# METADATA
# title: The answer to one operation
# scope: document
# entrypoint: true
decision := {
	"schema": "dmz.decision/1",
	"allow": true,
	"reasons": {reason("grant.matched", "grant", concat(" ", ["granted by", id])) | some id in data.dmz.grants.matched},
	"obligations": obligations,
	"grants": data.dmz.grants.matched,
	"revision": revision,
} if {
	allow
} else := {
	"schema": "dmz.decision/1",
	"allow": false,
	"reasons": (((denials("guardrail", data.dmz.guardrails.deny) | base_denials) | site_denials) | grant_denials),
	"obligations": set(),
	"grants": data.dmz.grants.matched,
	"revision": revision,
}

default allow := false

allow if {
	count(data.dmz.grants.fitting) > 0
	not denied
}

denied if {
	count(data.dmz.guardrails.deny) > 0
} else if {
	some part
	count(data.base[part].deny) > 0
} else if {
	some plant
	count(data.site[plant].deny) > 0
}

default revision := "unstamped"

revision := data.bundle.revision

base_denials := {denial |
	some part
	some denial in denials("base", data.base[part].deny)
}

site_denials := {denial |
	some plant
	some denial in denials("site", data.site[plant].deny)
}

default grant_denials := set()

grant_denials := denials("default", data.dmz.grants.none) | denials("grant", data.dmz.grants.near) if {
	count(data.dmz.grants.fitting) == 0
}

denials(kind, found) := {reason(denial.code, kind, denial.msg) | some denial in found}

reason(code, kind, msg) := {"code": code, "kind": kind, "msg": msg}

# METADATA
# title: What the gateway must do if it acts
obligations contains obligation if {
	some place in data.dmz.grants.fitting
	some obligation in data.grants[place].obligations
}

obligations contains obligation if {
	some part
	some obligation in data.base[part].obligation
}

obligations contains obligation if {
	some plant
	some obligation in data.site[plant].obligation
}
