# METADATA
# title: Conditions of grants that the demo's own grants do not use
package tests.grants

import future.keywords.not

question := {
	"op": {"protocol": "modbus", "action": "write", "kind": "modbus.write_single_coil"},
	"subject": {
		"id": "spiffe://demo.example/plant/hmi-1",
		"kind": "workload",
		"auth": "mtls",
		"roles": ["operator"],
		"role_state": "ok",
		"on_behalf_of": null,
	},
	"conn": {"zone": "plant", "listener": "modbus-north"},
	"target": {"asset": "plc-1", "kind": "plc"},
	"modbus": {"unit": 1, "fc": 5, "sub": null, "mei": null, "table": "coil", "start": 1, "count": 1},
	"northbound": null,
	"points": [],
	"state": {"mode": "maintenance", "freeze": false, "writes_60s": 0, "crl": "fresh", "clock": "trusted"},
	"time": {"windows": ["night"], "trusted": true},
}

grant := {
	"id": "valve",
	"subjects": ["spiffe://demo.example/plant/hmi-1"],
	"actions": ["write"],
	"protocols": ["modbus"],
	"assets": ["plc-1"],
	"modbus": [{"table": "coil", "ranges": [[0, 0], [1, 1]], "fcs": [5]}],
	"windows": ["night"],
	"modes": ["maintenance"],
	"listeners": ["modbus-north"],
	"obligations": [{"type": "rate", "n": 1, "per_s": 10}],
}

# What a plant says of itself has no part in these tests: whoever takes a right away, or puts a device into
# another class, must not be held up by them.
bindings := {
	"spiffe://demo.example/plant/hmi-1": ["operator"],
	"spiffe://demo.example/person/lea": ["shift-lead"],
	"spiffe://demo.example/person/pat": ["policy-owner"],
}

plant := {"plc-1": {"kind": "plc", "zone": "plant"}, "meter-1": {"kind": "meter", "zone": "plant"}}

ways := [
	{"from": "plant", "to": "plant", "protocols": ["modbus"]},
	{"from": "plant", "to": "gateway", "protocols": ["https"]},
]

limits := {"writes_60s": 120, "previous_age_ms": 10000, "break_glass_minutes": 60, "writable": {}, "limits": {}}

judged(asked, grants, roles) := decision if {
	decision := data.dmz.decision with input as asked
		with data.grants as grants
		with data.role_bindings as roles
		with data.assets as plant
		with data.conduits as ways
		with data.bounds as limits
}

codes(decision) := {reason.code | some reason in decision.reasons}

test_every_condition_holds if {
	decision := judged(question, [grant], bindings)
	decision.allow
	decision.grants == {"valve"}
	decision.obligations == {{"type": "audit"}, {"type": "rate", "n": 1, "per_s": 10}}
}

test_no_grants_allow_nothing if {
	decision := judged(question, [], bindings)
	not decision.allow
	codes(decision) == {"grant.none"}
}

test_outside_the_window if {
	asked := object.union(question, {"time": {"windows": ["day"], "trusted": true}})
	decision := judged(asked, [grant], bindings)
	not decision.allow
	codes(decision) == {"grant.window"}
}

test_a_window_needs_a_trusted_clock if {
	asked := object.union(question, {"time": {"windows": ["night"], "trusted": false}})
	decision := judged(asked, [grant], bindings)
	not decision.allow
	codes(decision) == {"grant.window"}
}

test_another_mode if {
	asked := object.union(question, {"state": object.union(question.state, {"mode": "run"})})
	decision := judged(asked, [grant], bindings)
	codes(decision) == {"grant.mode"}
}

test_another_listener if {
	asked := object.union(question, {"conn": {"zone": "plant", "listener": "other"}})
	decision := judged(asked, [grant], bindings)
	codes(decision) == {"grant.listener"}
}

test_another_function if {
	asked := object.union(question, {"modbus": object.union(question.modbus, {"fc": 15})})
	decision := judged(asked, [grant], bindings)
	codes(decision) == {"grant.addresses"}
}

test_neighbouring_ranges_are_not_one if {
	asked := object.union(question, {"modbus": object.union(question.modbus, {"start": 0, "count": 2})})
	decision := judged(asked, [grant], bindings)
	codes(decision) == {"grant.addresses"}
}

nobody := object.union(question, {
	"subject": {
		"id": "anonymous:legacy",
		"kind": "nobody",
		"auth": "none",
		"roles": ["operator"],
		"role_state": "absent",
		"on_behalf_of": null,
	},
	"conn": {"zone": "plant", "listener": "legacy"},
})

legacy := object.union(object.remove(grant, {"subjects"}), {"subject_kinds": ["nobody"], "listeners": ["legacy"]})

test_nobody_is_granted_by_listener if {
	decision := judged(nobody, [legacy], bindings)
	decision.allow
}

test_nobody_on_another_listener if {
	other := object.union(legacy, {"listeners": ["modbus-north"]})
	decision := judged(nobody, [other], bindings)
	codes(decision) == {"guardrail.nobody", "grant.listener"}
}

test_a_grant_to_everybody_on_the_listener_is_none_to_nobody if {
	everybody := object.union(object.remove(legacy, {"subject_kinds"}), {"subjects": ["anonymous:legacy"]})
	decision := judged(nobody, [everybody], bindings)
	codes(decision) == {"guardrail.nobody"}
}

test_a_grant_on_every_listener_is_none_to_nobody if {
	everywhere := object.remove(legacy, {"listeners"})
	decision := judged(nobody, [everywhere], bindings)
	codes(decision) == {"guardrail.nobody"}
}

test_no_role_counts_for_nobody if {
	roles := object.union(object.remove(legacy, {"subject_kinds"}), {"roles": ["operator"]})
	bound := {"anonymous:legacy": ["operator"]}
	decision := judged(nobody, [roles], bound)
	codes(decision) == {"guardrail.nobody", "grant.none"}
}

test_nobody_acts_on_no_gateway if {
	asked := object.union(nobody, {"op": {"protocol": "modbus", "action": "admin", "kind": "control.reload"}})
	admin := object.union(legacy, {"actions": ["admin"]})
	decision := judged(asked, [admin], bindings)
	codes(decision) == {"guardrail.nobody", "guardrail.action"}
}

test_an_approval_is_asked_for if {
	asked := object.union(grant, {"approval": {"by": "shift-lead", "within_s": 60}})
	decision := judged(question, [asked], bindings)
	decision.allow
	{"type": "approval", "by": "shift-lead", "within_s": 60} in decision.obligations
}

approved := {"id": "01K00000000000000000000001", "by": ["spiffe://demo.example/person/lea"]}

agreed(by) := object.union(question, {"state": object.union(question.state, {"approval": {"id": "a", "by": by}})})

waits(by) if {
	asked := object.union(grant, {"approval": {"by": "shift-lead"}})
	decision := judged(agreed(by), [asked], bindings)
	{"type": "approval", "by": "shift-lead"} in decision.obligations
}

test_an_approval_by_somebody_with_the_role_is_met if {
	asked := object.union(grant, {"approval": {"by": "shift-lead"}})
	decision := judged(agreed(approved.by), [asked], bindings)
	decision.allow
	decision.obligations == {{"type": "audit"}, {"type": "rate", "n": 1, "per_s": 10}}
}

test_an_approval_by_anybody_else_is_not if {
	waits([])
	waits(["spiffe://demo.example/person/pat"])
	waits(["spiffe://demo.example/person/nobody"])
}

test_nobody_approves_their_own if {
	asked := object.union(grant, {"approval": {"by": "shift-lead"}})
	bound := {question.subject.id: ["operator", "shift-lead"]}
	own := agreed([question.subject.id])
	decision := judged(own, [asked], bound)
	{"type": "approval", "by": "shift-lead"} in decision.obligations
}

test_who_is_acted_for_does_not_approve if {
	asked := object.union(grant, {"approval": {"by": "shift-lead"}})
	subject := object.union(question.subject, {"on_behalf_of": "spiffe://demo.example/person/lea"})
	on_behalf := object.union(agreed(approved.by), {"subject": subject})
	not data.dmz.lib.agreed("shift-lead") with input as on_behalf with data.grants as [asked] with data.role_bindings as bindings
}

test_an_approval_as_obligation_is_met_alike if {
	asked := object.union(grant, {"obligations": [{"type": "approval", "by": "shift-lead"}]})
	before := judged(question, [asked], bindings)
	before.obligations == {{"type": "audit"}, {"type": "approval", "by": "shift-lead"}}
	after := judged(agreed(approved.by), [asked], bindings)
	after.obligations == {{"type": "audit"}}
}

test_an_approval_overrides_no_condition if {
	asked := object.union(grant, {"approval": {"by": "shift-lead"}, "modes": ["run"]})
	decision := judged(agreed(approved.by), [asked], bindings)
	codes(decision) == {"grant.mode"}
}

test_no_approval_where_another_grant_needs_none if {
	asked := object.union(grant, {"id": "other", "approval": {"by": "shift-lead"}})
	decision := judged(question, [asked, grant], bindings)
	decision.grants == {"valve"}
	every obligation in decision.obligations { obligation.type != "approval" }
}

test_any_of_two_approvals_will_do if {
	one := object.union(grant, {"id": "one", "approval": {"by": "shift-lead"}})
	two := object.union(grant, {"id": "two", "approval": {"by": "policy-owner"}})
	before := judged(question, [one, two], bindings)
	before.grants == {"one", "two"}
	count([1 | some obligation in before.obligations; obligation.type == "approval"]) == 2
	after := judged(agreed(approved.by), [one, two], bindings)
	after.grants == {"one"}
	every obligation in after.obligations { obligation.type != "approval" }
}

glass := object.union(grant, {"id": "glass", "break_glass": true})

broken := object.union(question, {"state": object.union(question.state, {"break_glass": "01K00000000000000000000002"})})

test_kept_for_who_has_broken_the_glass if {
	decision := judged(question, [glass], bindings)
	codes(decision) == {"grant.needs_break_glass"}
}

test_who_has_broken_the_glass_is_told if {
	unaudited := object.remove(glass, {"obligations"})
	decision := judged(broken, [unaudited], bindings)
	decision.allow
	codes(decision) == {"grant.break_glass"}
	decision.grants == {"glass"}
	{"type": "audit"} in decision.obligations
}

test_a_broken_glass_breaks_no_guardrail if {
	frozen := object.union(broken, {"state": object.union(broken.state, {"freeze": true})})
	decision := judged(frozen, [glass], bindings)
	codes(decision) == {"guardrail.freeze"}
}

test_a_broken_glass_waits_for_nobody if {
	waiting := object.union(grant, {"id": "waiting", "approval": {"by": "shift-lead"}})
	decision := judged(broken, [waiting, glass], bindings)
	decision.grants == {"glass"}
	every obligation in decision.obligations { obligation.type != "approval" }
}

test_what_is_allowed_anyway_is_no_use_of_the_glass if {
	decision := judged(broken, [grant, glass], bindings)
	decision.grants == {"valve"}
	codes(decision) == {"grant.matched"}
}

test_empty_lists_mean_no if {
	every name in ["actions", "protocols", "assets", "subjects", "modbus", "windows", "modes", "listeners"] {
		narrowed := object.union(grant, {name: []})
		decision := judged(question, [narrowed], bindings)
		not decision.allow
	}
}

test_a_question_without_any_field_is_denied if {
	decision := data.dmz.decision with input as {}
	not decision.allow
	count(decision.reasons) > 0
}
