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
	"reasons": {granted(grant) | some grant in given},
	"obligations": obligations,
	"grants": data.dmz.grants.matched,
	"revision": revision,
} if {
	allow
} else := {
	"schema": "dmz.decision/1",
	"allow": false,
	"reasons": (((denials("guardrail", forbidden) | base_denials) | site_denials) | grant_denials),
	"obligations": set(),
	"grants": data.dmz.grants.matched,
	"revision": revision,
}

# The grants that are used, fetched once for all that is said of them.
given := [data.grants[place] | some place in data.dmz.grants.given]

default allow := false

allow if {
	count(data.dmz.grants.used) > 0
	not denied
}

denied if {
	count(data.dmz.guardrails.deny) > 0
} else if {
	input.op.protocol != "modbus"
	count(forbidden) > 0
} else if {
	some part
	count(data.base[part].deny) > 0
} else if {
	some plant
	count(data.site[plant].deny) > 0
}

# METADATA
# title: What guardrails deny
# description: Those about OPC UA and about acts on the gateway are asked only where they can say something.
forbidden contains denial if some denial in data.dmz.guardrails.deny

forbidden contains denial if {
	input.op.protocol == "opcua"
	some denial in data.dmz.opcua.deny
}

forbidden contains denial if {
	data.dmz.lib.on_gateway
	some denial in data.dmz.people.deny
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
	count(data.dmz.grants.used) == 0
}

denials(kind, found) := {reason(denial.code, kind, denial.msg) | some denial in found}

reason(code, kind, msg) := {"code": code, "kind": kind, "msg": msg}

granted(grant) := {"code": "grant.matched", "kind": "grant", "msg": concat(" ", ["granted by", grant.id])} if {
	not grant.break_glass
}

granted(grant) := {"code": "grant.break_glass", "kind": "grant", "msg": concat(" ", parts)} if {
	grant.break_glass
	parts := ["granted by", grant.id, "because the subject has broken the glass:", input.state.break_glass]
}

# METADATA
# title: What the gateway must do if it acts
# description: |
#   The obligations of every grant that is used, of base and of site add up. An approval that people have given
#   is met, and not asked for again.
obligations contains obligation if {
	some grant in given
	some obligation in grant.obligations
	not met(obligation)
}

obligations contains {"type": "audit"} if {
	data.dmz.grants.heavy
	some grant in given
	grant.break_glass
}

obligations contains object.union({"type": "approval"}, approval) if {
	data.dmz.grants.heavy
	some grant in given
	approval := grant.approval
	not data.dmz.lib.agreed(approval.by)
}

obligations contains obligation if {
	some part
	some obligation in data.base[part].obligation
	not met(obligation)
}

obligations contains obligation if {
	some plant
	some obligation in data.site[plant].obligation
	not met(obligation)
}

met(obligation) if {
	obligation.type == "approval"
	data.dmz.lib.agreed(obligation.by)
}
