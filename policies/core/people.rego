# METADATA
# title: Guardrails of acts on the gateway
# description: |
#   What no grant and no site rule can allow of what people do to the gateway itself. Who may do what else is
#   granted like everything: `actions: [admin]`, `operations`, `scopes`, `values`, `most_minutes`.
package dmz.people

import future.keywords.not

# The same as in gateway/policy/grants.py.
control := {"control.status": "read", "control.reload": "admin"}

listed := {
	"admin.list_approvals": "read",
	"admin.list_bundles": "read",
	"admin.state": "read",
	"admin.rehearse": "read",
	"admin.browse": "read",
	"admin.probe": "read",
	"admin.approve": "admin",
	"admin.refuse": "admin",
	"admin.open_window": "admin",
	"admin.close_window": "admin",
	"admin.break_glass": "admin",
	"admin.end_break_glass": "admin",
	"admin.set_stage": "admin",
	"admin.set_mode": "admin",
	"admin.activate": "admin",
	"admin.confirm": "admin",
	"admin.rollback": "admin",
	"audit.search": "read",
	"audit.record": "read",
	"audit.proof": "read",
	"audit.checkpoint": "read",
	"audit.report": "read",
}

# METADATA
# title: There are only these acts on the gateway, each by its own way
# description: The control socket gives status and reload to a user of the machine, and nothing that people decide.
# custom:
#   code: guardrail.admin_act
#   iec62443: SR 2.1
deny contains {
	"code": "guardrail.admin_act",
	"msg": "the gateway knows no such act, or not by this way (docs/reference/decision.md)",
} if {
	not act(input.op.protocol)
}

act(protocol) if {
	protocol == "control"
	control[input.op.kind] == input.op.action
} else if {
	protocol == "https"
	listed[input.op.kind] == input.op.action
	input.target.asset == null
}

# METADATA
# title: People act on the gateway, each under their own certificate
# custom:
#   code: guardrail.person
#   iec62443: SR 1.1
deny contains {
	"code": "guardrail.person",
	"msg": "only a person acts on the gateway, under a certificate of their own",
} if {
	input.op.action == "admin"
	input.op.protocol != "control"
	not person(input.subject.kind)
}

person(kind) if {
	kind == "person"
	input.subject.auth == "mtls"
}

# METADATA
# title: Who acts on the gateway comes from a zone that a conduit leads from
# description: |
#   The gateway is no asset, so the conduit's other end is called `gateway`; it is called `journal` for who only
#   reads what is recorded, so that reviewers may come from where nobody acts.
# custom:
#   code: guardrail.admin_conduit
#   iec62443: SR 5.1
deny contains {
	"code": "guardrail.admin_conduit",
	"msg": "no conduit leads from the listener's zone to `gateway`, or for reviewers to `journal`, by https",
} if {
	input.op.protocol != "control"
	not conduit(end)
}

default end := "gateway"

end := "journal" if data.dmz.lib.reviewing

conduit(zone) if {
	some way in data.conduits
	way.from == input.conn.zone
	way.to == zone
	input.op.protocol in way.protocols
}

# METADATA
# title: Nobody approves what they want themselves
# custom:
#   code: guardrail.self_approval
#   iec62443: SR 2.1
deny contains {
	"code": "guardrail.self_approval",
	"msg": "the requester cannot approve their own; somebody else must",
} if {
	input.op.kind == "admin.approve"
	not anothers(input.admin.subject)
}

anothers(subject) if {
	is_string(subject)
	subject != input.subject.id
	is_string(input.admin.request)
}

# METADATA
# title: The glass is broken for oneself, and for a time
# custom:
#   code: guardrail.break_glass
#   iec62443: SR 2.1
deny contains {
	"code": "guardrail.break_glass",
	"msg": "the glass is broken for oneself only, and for at most bounds.break_glass_minutes",
} if {
	input.op.kind == "admin.break_glass"
	not for_a_time(input.admin.minutes)
}

for_a_time(minutes) if {
	input.admin.subject == input.subject.id
	minutes > 0
	minutes <= data.bounds.break_glass_minutes
}

# METADATA
# title: Only windows that are there to be opened are, and no longer than they may
# custom:
#   code: guardrail.window
#   iec62443: SR 2.1
deny contains {
	"code": "guardrail.window",
	"msg": "the window is not `on_request`, or not for so many minutes (data/windows.yaml)",
} if {
	input.op.kind == "admin.open_window"
	not opens(input.admin.minutes)
}

opens(minutes) if {
	window := data.windows[input.admin.value]
	window.on_request == true
	minutes > 0
	minutes <= window.most_minutes
}

# METADATA
# title: Stages and modes are set to ones that exist
# custom:
#   code: guardrail.setting
#   iec62443: SR 3.5
deny contains {
	"code": "guardrail.setting",
	"msg": "there is no such stage, or no such mode in data/modes.yaml",
} if {
	input.op.kind in {"admin.set_stage", "admin.set_mode"}
	not exists(input.admin.value)
}

exists(value) if {
	input.op.kind == "admin.set_stage"
	value in {"observe", "monitor", "enforce"}
} else if {
	input.op.kind == "admin.set_mode"
	value in data.modes
}
