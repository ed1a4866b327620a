# METADATA
# title: What the brake says with other data than the bundle's
package tests.brake

import future.keywords.not

change := {
	"op": {"protocol": "modbus", "action": "write"},
	"target": {"asset": "plc-1"},
}

stopped if {
	some denial in data.site.demo.deny
	denial.code == "site.brake"
}

test_stopped if {
	stopped with input as change with data.brake as {"writes": "stopped"}
}

test_a_typing_mistake_stops if {
	stopped with input as change with data.brake as {"writes": "Free"}
}

test_an_empty_document_stops if {
	stopped with input as change with data.brake as {}
}

test_free if {
	not stopped with input as change with data.brake as {"writes": "free"}
}
