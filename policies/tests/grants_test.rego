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

codes(decision) := {reason.code | some reason in decision.reasons}

test_every_condition_holds if {
	decision := data.dmz.decision with input as question with data.grants as [grant]
	decision.allow
	decision.grants == {"valve"}
	decision.obligations == {{"type": "audit"}, {"type": "rate", "n": 1, "per_s": 10}}
}

test_no_grants_allow_nothing if {
	decision := data.dmz.decision with input as question with data.grants as []
	not decision.allow
	codes(decision) == {"grant.none"}
}

test_outside_the_window if {
	asked := object.union(question, {"time": {"windows": ["day"], "trusted": true}})
	decision := data.dmz.decision with input as asked with data.grants as [grant]
	not decision.allow
	codes(decision) == {"grant.window"}
}

test_a_window_needs_a_trusted_clock if {
	asked := object.union(question, {"time": {"windows": ["night"], "trusted": false}})
	decision := data.dmz.decision with input as asked with data.grants as [grant]
	not decision.allow
	codes(decision) == {"grant.window"}
}

test_another_mode if {
	asked := object.union(question, {"state": object.union(question.state, {"mode": "run"})})
	decision := data.dmz.decision with input as asked with data.grants as [grant]
	codes(decision) == {"grant.mode"}
}

test_another_listener if {
	asked := object.union(question, {"conn": {"zone": "plant", "listener": "other"}})
	decision := data.dmz.decision with input as asked with data.grants as [grant]
	codes(decision) == {"grant.listener"}
}

test_another_function if {
	asked := object.union(question, {"modbus": object.union(question.modbus, {"fc": 15})})
	decision := data.dmz.decision with input as asked with data.grants as [grant]
	codes(decision) == {"grant.addresses"}
}

test_neighbouring_ranges_are_not_one if {
	asked := object.union(question, {"modbus": object.union(question.modbus, {"start": 0, "count": 2})})
	decision := data.dmz.decision with input as asked with data.grants as [grant]
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
	decision := data.dmz.decision with input as nobody with data.grants as [legacy]
	decision.allow
}

test_nobody_on_another_listener if {
	other := object.union(legacy, {"listeners": ["modbus-north"]})
	decision := data.dmz.decision with input as nobody with data.grants as [other]
	codes(decision) == {"guardrail.nobody", "grant.listener"}
}

test_a_grant_to_everybody_on_the_listener_is_none_to_nobody if {
	everybody := object.union(object.remove(legacy, {"subject_kinds"}), {"subjects": ["anonymous:legacy"]})
	decision := data.dmz.decision with input as nobody with data.grants as [everybody]
	codes(decision) == {"guardrail.nobody"}
}

test_a_grant_on_every_listener_is_none_to_nobody if {
	everywhere := object.remove(legacy, {"listeners"})
	decision := data.dmz.decision with input as nobody with data.grants as [everywhere]
	codes(decision) == {"guardrail.nobody"}
}

test_no_role_counts_for_nobody if {
	roles := object.union(object.remove(legacy, {"subject_kinds"}), {"roles": ["operator"]})
	bound := {"anonymous:legacy": ["operator"]}
	decision := data.dmz.decision with input as nobody with data.grants as [roles] with data.role_bindings as bound
	codes(decision) == {"guardrail.nobody", "grant.none"}
}

test_nobody_acts_on_no_gateway if {
	asked := object.union(nobody, {"op": {"protocol": "modbus", "action": "admin", "kind": "control.reload"}})
	admin := object.union(legacy, {"actions": ["admin"]})
	decision := data.dmz.decision with input as asked with data.grants as [admin]
	{"guardrail.nobody", "guardrail.action", "guardrail.admin_act", "guardrail.person"} - codes(decision) == set()
}

test_empty_lists_mean_no if {
	every name in ["actions", "protocols", "assets", "subjects", "modbus", "windows", "modes", "listeners"] {
		narrowed := object.union(grant, {name: []})
		decision := data.dmz.decision with input as question with data.grants as [narrowed]
		not decision.allow
	}
}

test_a_question_without_any_field_is_denied if {
	decision := data.dmz.decision with input as {}
	not decision.allow
	count(decision.reasons) > 0
}
