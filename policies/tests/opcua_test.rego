# METADATA
# title: What of OPC UA a grant gives, and northbound conditions that the demo's own grants do not use
package tests.opcua

import future.keywords.not

question := {
	"op": {"protocol": "opcua", "action": "read", "kind": "opcua.read"},
	"subject": {"id": "urn:demo:hmi-1", "kind": "workload", "auth": "opcua", "on_behalf_of": null},
	"conn": {"zone": "plant", "listener": "opcua-north"},
	"target": {"asset": "plc-1", "kind": "plc"},
	"modbus": null,
	"northbound": null,
	"opcua": {
		"service": "Read",
		"node": "nsu=urn:demo:plc;s=Tank.Level",
		"path": "/Plant/plc-1/Tank/Level",
		"attribute": "Value",
		"method": null,
		"arguments": null,
		"sampling_ms": null,
		"publishing_ms": null,
		"history_start_ns": null,
		"history_end_ns": null,
		"security": "Basic256Sha256",
		"mode": "SignAndEncrypt",
	},
	"points": [],
	"state": {"mode": "run", "freeze": false, "writes_60s": 0, "crl": "fresh", "clock": "trusted", "approval": null},
	"time": {"windows": [], "trusted": true},
}

node := "nsu=urn:demo:plc;s=Tank.Level"

asked(action, change) := object.union(question, {
	"op": object.union(question.op, {"action": action}),
	"opcua": object.union(question.opcua, change),
})

grant(entry) := {
	"id": "g",
	"subjects": ["urn:demo:hmi-1"],
	"actions": ["read", "write", "call", "browse", "subscribe"],
	"protocols": ["opcua"],
	"assets": ["plc-1"],
	"opcua": [entry],
}

gives(document, entry) if {
	matched := data.dmz.grants.matched with input as document with data.grants as [grant(entry)]
	matched == {"g"}
}

lacks(document, entry) if {
	near := data.dmz.grants.near with input as document with data.grants as [grant(entry)]
	{reason.code | some reason in near} == {"grant.nodes"}
}

test_a_node_by_its_id if {
	gives(question, {"nodes": [node]})
	lacks(question, {"nodes": ["nsu=urn:demo:plc;s=Tank.Leve"]})
	lacks(question, {"nodes": ["nsu=urn:other:plc;s=Tank.Level"]})
}

test_nodes_by_how_they_begin if {
	gives(question, {"nodes": ["nsu=urn:demo:plc;s=Tank.*"]})
	lacks(question, {"nodes": ["nsu=urn:demo:plc;s=Pump.*"]})
	lacks(asked("read", {"node": null}), {"nodes": ["nsu=urn:demo:plc;s=Tank.*"]})
}

test_nodes_by_where_they_are if {
	gives(question, {"paths": ["/Plant/plc-1/#"]})
	gives(question, {"paths": ["/Plant/plc-1/Tank/Level"]})
	lacks(question, {"paths": ["/Plant/plc/#"]})
	lacks(question, {"paths": ["/Plant/plc-1"]})
	lacks(asked("read", {"path": null}), {"paths": ["/Plant/#"]})
	lacks(asked("read", {"path": "/Plant/plc-10/x"}), {"paths": ["/Plant/plc-1/#"]})
}

test_the_value_only_unless_it_says_more if {
	lacks(asked("read", {"attribute": "DisplayName"}), {"nodes": [node]})
	gives(asked("read", {"attribute": "DisplayName"}), {"nodes": [node], "attributes": ["Value", "DisplayName"]})
	lacks(question, {"nodes": [node], "attributes": ["DisplayName"]})
}

test_nothing_is_changed_by_path_or_pattern if {
	write := asked("write", {"service": "Write"})
	gives(write, {"nodes": [node]})
	lacks(write, {"nodes": ["nsu=urn:demo:plc;s=Tank.*"]})
	lacks(write, {"paths": ["/Plant/plc-1/#"]})
	lacks(write, {"paths": ["/Plant/plc-1/Tank/Level"]})
}

test_only_the_services_that_it_names if {
	history := asked("read", {"service": "HistoryRead"})
	gives(history, {"nodes": [node]})
	gives(history, {"nodes": [node], "services": ["HistoryRead"]})
	lacks(history, {"nodes": [node], "services": ["Read"]})
}

call(change) := asked("call", object.union(
	{"service": "Call", "node": "nsu=urn:demo:plc;s=Pump", "method": "nsu=urn:demo:plc;s=Pump.Start", "arguments": []},
	change,
))

pump := {"nodes": ["nsu=urn:demo:plc;s=Pump"], "methods": ["nsu=urn:demo:plc;s=Pump.Start"]}

test_a_method_of_an_object if {
	gives(call({}), pump)
	lacks(call({"method": "nsu=urn:demo:plc;s=Pump.Reset"}), pump)
	lacks(call({"node": "nsu=urn:demo:plc;s=Pump2"}), pump)
	lacks(call({"method": null}), pump)
	lacks(call({}), object.remove(pump, {"methods"}))
	lacks(asked("read", {"node": "nsu=urn:demo:plc;s=Pump"}), pump)
}

test_arguments_within_their_bounds if {
	bounded := object.union(pump, {"arguments": [{"min": 0, "max": 9}, {"one_of": ["slow", "fast"]}, {"any": true}]})
	gives(call({"arguments": [0, "slow", null]}), bounded)
	gives(call({"arguments": [9, "fast", "3.5"]}), bounded)
	lacks(call({"arguments": [10, "slow", 1]}), bounded)
	lacks(call({"arguments": [-1, "slow", 1]}), bounded)
	lacks(call({"arguments": ["5", "slow", 1]}), bounded)
	lacks(call({"arguments": [null, "slow", 1]}), bounded)
	lacks(call({"arguments": [5, "idle", 1]}), bounded)
	lacks(call({"arguments": [5, "slow"]}), bounded)
	lacks(call({"arguments": [5, "slow", 1, 2]}), bounded)
	lacks(call({"arguments": null}), bounded)
	lacks(call({"arguments": [1]}), object.union(pump, {"arguments": []}))
	gives(call({"arguments": []}), object.union(pump, {"arguments": []}))
}

monitor(change) := asked("subscribe", object.union({"service": "CreateMonitoredItems", "sampling_ms": 500}, change))

test_not_more_often_than_it_says if {
	slow := {"nodes": [node], "min_interval_ms": 500}
	gives(monitor({}), slow)
	lacks(monitor({"sampling_ms": 499}), slow)
	lacks(monitor({"sampling_ms": 0, "publishing_ms": 1000}), slow)
	gives(monitor({"sampling_ms": -1, "publishing_ms": 500}), slow)
	lacks(monitor({"sampling_ms": -1, "publishing_ms": 499}), slow)
	lacks(monitor({"sampling_ms": null, "publishing_ms": null}), slow)
	gives(question, slow)
}

test_subscriptions_name_no_node if {
	create := asked("subscribe", {"service": "CreateSubscription", "node": null, "attribute": null, "publishing_ms": 500})
	gives(create, {"services": ["CreateSubscription"]})
	gives(create, {"services": ["CreateSubscription"], "min_interval_ms": 500})
	lacks(create, {"services": ["CreateSubscription"], "min_interval_ms": 501})
	lacks(create, {"services": ["ModifySubscription"]})
	lacks(create, {"nodes": [node]})
	lacks(monitor({}), {"services": ["CreateMonitoredItems"]})
}

delivery(service) := asked("subscribe", {"service": service, "node": null, "attribute": null})

test_what_a_subscription_brings_goes_with_it if {
	every service in {"Publish", "Republish"} {
		gives(delivery(service), {"services": ["CreateSubscription"]})
		gives(delivery(service), {"services": ["CreateSubscription"], "min_interval_ms": 501})
		gives(delivery(service), {"services": [service]})
		lacks(delivery(service), {"services": ["ModifySubscription"]})
		lacks(delivery(service), {"nodes": [node]})
	}
	lacks(delivery("CreateSubscription"), {"services": ["Publish", "Republish"]})
}

test_what_has_no_interval_is_not_held_to_one if {
	every service in {"SetPublishingMode", "DeleteSubscriptions", "TransferSubscriptions"} {
		gives(delivery(service), {"services": [service], "min_interval_ms": 500})
	}
	lacks(delivery("ModifySubscription"), {"services": ["ModifySubscription"], "min_interval_ms": 500})
}

anna := "user:anna"

# What the application has, and what the user on top of it has.
two(more) := array.concat([grant({"nodes": [node]})], hers(more))

hers(more) := [object.union(object.union(grant({"nodes": [node]}), {"id": "u", "subjects": [anna]}), more)]

for_anna := object.union(question, {"subject": object.union(question.subject, {"on_behalf_of": anna})})

answered(document, grants) := answer if {
	answer := data.dmz.decision with input as document
		with data.grants as grants
		with data.assets as {"plc-1": {"kind": "plc", "zone": "plant"}}
		with data.conduits as [{"from": "plant", "to": "plant", "protocols": ["opcua"]}]
		with data.role_bindings as {anna: ["shift"], "urn:demo:hmi-1": ["panel"], "spiffe://demo/person/lea": ["lead"]}
}

codes(document, grants) := {reason.code | some reason in answered(document, grants).reasons}

test_the_application_and_its_user_are_both_granted if {
	answered(question, two({})).grants == {"g"}
	both := answered(for_anna, two({}))
	both.allow
	both.grants == {"g", "u"}
	codes(for_anna, two({"subjects": ["user:ben"]})) == {"guardrail.on_behalf_of"}
	codes(for_anna, hers({})) == {"grant.none"}
	codes(for_anna, []) == {"guardrail.on_behalf_of", "grant.none"}
	one := object.union(grant({"nodes": [node]}), {"subjects": ["urn:demo:hmi-1", anna]})
	codes(for_anna, [one]) == {"grant.matched"}
}

test_the_user_has_the_roles_that_are_bound_to_it if {
	codes(for_anna, two({"subjects": [], "roles": ["shift"]})) == {"grant.matched"}
	codes(for_anna, two({"subjects": [], "roles": ["panel"]})) == {"guardrail.on_behalf_of"}
	codes(for_anna, two({"subjects": [], "subject_kinds": ["workload", "person"]})) == {"guardrail.on_behalf_of"}
}

test_the_user_is_held_to_every_condition if {
	every lacking in [
		{"actions": ["browse"]},
		{"protocols": ["https"]},
		{"assets": ["plc-2"]},
		{"opcua": [{"nodes": ["nsu=urn:demo:plc;s=Tank.SP"]}]},
		{"windows": ["night"]},
		{"modes": ["maintenance"]},
		{"listeners": ["other"]},
		{"tags": ["plc-1.level"]},
		{"break_glass": true},
	] {
		codes(for_anna, two(lacking)) == {"guardrail.on_behalf_of"}
	}
}

test_what_both_owe_adds_up if {
	answered(for_anna, two({"obligations": [{"type": "audit"}]})).obligations == {{"type": "audit"}}
	asked_for := two({"approval": {"by": "lead"}})
	answered(for_anna, asked_for).obligations == {{"type": "approval", "by": "lead"}}
	by := {"id": "01", "by": ["spiffe://demo/person/lea"]}
	agreed := object.union(for_anna, {"state": object.union(question.state, {"approval": by})})
	answered(agreed, asked_for).obligations == set()
}

test_no_word_about_the_user_is_no_user if {
	missing := object.union(
		object.remove(question, {"subject"}),
		{"subject": object.remove(question.subject, {"on_behalf_of"})},
	)
	codes(missing, two({})) == {"guardrail.on_behalf_of"}
}

test_by_a_secure_channel_over_opcua_and_nowhere_else if {
	tls := object.union(question, {"subject": object.union(question.subject, {"auth": "mtls"})})
	codes(tls, two({})) == {"guardrail.identity"}
	elsewhere := object.union(question, {"op": object.union(question.op, {"protocol": "https"})})
	"guardrail.identity" in codes(elsewhere, [])
	local := object.union(question, {"subject": object.union(question.subject, {"id": "local:root"})})
	"guardrail.identity" in codes(local, [])
}

span(start, end) := asked(
	"read",
	{"service": "HistoryRead", "history_start_ns": start, "history_end_ns": end},
)

test_not_further_back_than_it_says if {
	hour := {"nodes": [node], "most_history_s": 3600}
	start := 1795400000123456789
	gives(span(start, start + 3600000000000), hour)
	lacks(span(start, start + 3600000000001), hour)
	gives(span(start + 3600000000000, start), hour)
	lacks(span(start + 3600000000001, start), hour)
	lacks(span(null, start), hour)
	lacks(span(start, null), hour)
	gives(question, hour)
}

north := {
	"op": {"protocol": "mqtt", "action": "publish", "kind": "mqtt.publish_tag"},
	"subject": {"id": "spiffe://demo.example/gateway/gw-1", "kind": "gateway", "auth": "internal", "on_behalf_of": null},
	"conn": {"zone": "gateway", "listener": "internal"},
	"target": {"asset": "plc-1", "kind": "plc"},
	"modbus": null,
	"northbound": {"topic": "acme/demo/level", "consumer": "broker", "format": "json"},
	"points": [],
	"state": {"mode": "run", "freeze": false, "writes_60s": null, "crl": "fresh", "clock": "trusted", "approval": null},
	"time": {"windows": [], "trusted": true},
}

published(more) := {reason.code | some reason in answer.reasons} if {
	grant := object.union(
		{
			"id": "g",
			"subjects": ["spiffe://demo.example/gateway/gw-1"],
			"actions": ["publish"],
			"protocols": ["mqtt"],
			"assets": ["plc-1"],
			"topics": ["acme/demo/#"],
		},
		more,
	)
	answer := data.dmz.decision with input as north
		with data.grants as [grant]
		with data.assets as {"plc-1": {"kind": "plc", "zone": "plant"}}
		with data.conduits as [{"from": "gateway", "to": "plant", "protocols": ["mqtt"]}]
}

test_who_gets_it_and_how if {
	published({"consumers": ["broker"], "formats": ["json"]}) == {"grant.matched"}
	published({"consumers": ["other"]}) == {"grant.consumer"}
	published({"formats": ["sparkplug"]}) == {"grant.format"}
	published({"topics": ["acme/other/#"]}) == {"grant.topic"}
}

written(more) := {reason.code | some reason in answer.reasons} if {
	grant := object.union(
		{
			"id": "g",
			"subjects": ["spiffe://demo.example/plant/scada"],
			"actions": ["write"],
			"protocols": ["https"],
			"assets": ["plc-1"],
		},
		more,
	)
	document := object.union(north, {
		"op": {"protocol": "https", "action": "write", "kind": "https.write_tag"},
		"subject": {"id": "spiffe://demo.example/plant/scada", "kind": "workload", "auth": "mtls", "on_behalf_of": null},
		"conn": {"zone": "plant", "listener": "https"},
		"points": [{"tag": "plc-1.level_sp", "q": 425, "q_prev": 400, "age_ms": 10}],
		"state": object.union(north.state, {"writes_60s": 0}),
	})
	ways := [{"from": "plant", "to": "plant", "protocols": ["https"]}]
	answer := data.dmz.decision with input as document
		with data.grants as [grant]
		with data.conduits as ways
		with data.assets as {"plc-1": {"kind": "plc", "zone": "plant"}}
}

test_a_write_over_https_names_its_tags if {
	written({"tags": ["plc-1.level_sp"]}) == {"grant.matched"}
	written({}) == {"grant.tags"}
	written({"tags": ["plc-1.level"]}) == {"grant.tags"}
	limited := {"tags": ["plc-1.level_sp"], "limits": {"plc-1.level_sp": {"min": 0, "max": 424}}}
	written(limited) == {"grant.limits"}
}
