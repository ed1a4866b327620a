# METADATA
# title: Guardrails of OPC UA
# description: What no grant and no site rule can allow over OPC UA. What a grant gives of it is in dmz.grants.
package dmz.opcua

import future.keywords.not

# METADATA
# title: Over OPC UA every message is signed, by algorithms that still hold
# description: |
#   Mode None, policy None, and the two policies that rest on SHA-1 signatures or RSA PKCS#1 v1.5 alone are no
#   security (OPC 10000-7). The gateway's own questions come by no channel.
# custom:
#   code: guardrail.opcua_channel
#   iec62443: SR 3.1
deny contains {
	"code": "guardrail.opcua_channel",
	"msg": "the channel is not signed, or by a security policy that is no longer trusted",
} if {
	input.subject.auth != "internal"
	not secure(input.opcua.mode)
}

secure(mode) if {
	mode in {"Sign", "SignAndEncrypt"}
	input.opcua.security in {
		"Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss",
		"ECC_nistP256", "ECC_nistP384", "ECC_brainpoolP256r1", "ECC_brainpoolP384r1",
		"ECC_curve25519", "ECC_curve448",
	}
}

# METADATA
# title: Services that are never forwarded
# description: |
#   What changes the address space (AddNodes, DeleteNodes …), rewrites history, has results that nobody knows
#   beforehand (Query), and whatever is new. A service is only what it is: no Write passes as a read.
# custom:
#   code: guardrail.opcua_service
#   iec62443: SR 7.7
deny contains {
	"code": "guardrail.opcua_service",
	"msg": "this service is never forwarded, or is not what the operation says that it does",
} if {
	not input.opcua.service in services[input.op.action]
}

# The same as SERVICES in gateway/policy/nodes.py.
services := {
	"read": {"Read", "HistoryRead"},
	"write": {"Write"},
	"call": {"Call"},
	"browse": {"Browse", "BrowseNext", "TranslateBrowsePathsToNodeIds", "RegisterNodes", "UnregisterNodes"},
	"subscribe": {
		"CreateMonitoredItems", "ModifyMonitoredItems", "SetMonitoringMode", "SetTriggering",
		"DeleteMonitoredItems", "CreateSubscription", "ModifySubscription", "SetPublishingMode",
		"DeleteSubscriptions", "TransferSubscriptions", "Publish", "Republish",
	},
}

# METADATA
# title: Of a node only its value is written, or what people read about it
# description: |
#   WriteMask, AccessLevel, RolePermissions, Executable … say who may do what on the device: whoever may write
#   those needs no gateway. The loader refuses grants for them as well.
# custom:
#   code: guardrail.opcua_attribute
#   iec62443: SR 2.1
deny contains {
	"code": "guardrail.opcua_attribute",
	"msg": "attributes other than Value, DisplayName and Description are never written",
} if {
	input.op.action == "write"
	not input.opcua.attribute in {"Value", "DisplayName", "Description"}
}

# METADATA
# title: The server's own nodes are not changed
# description: |
#   Namespace 0 (`i=…`, written without a URI) holds how the server itself is configured, its trust lists and
#   RequestServerStateChange. Of its methods only those about subscriptions and alarms are called.
# custom:
#   code: guardrail.opcua_server
#   iec62443: SR 7.6
deny contains {
	"code": "guardrail.opcua_server",
	"msg": "nodes of namespace 0 configure the server itself; they are neither written nor called",
} if {
	input.op.action == "write"
	not foreign(input.opcua.node)
}

deny contains {
	"code": "guardrail.opcua_server",
	"msg": "nodes of namespace 0 configure the server itself; they are neither written nor called",
} if {
	input.op.action == "call"
	not callable(input.opcua.method)
}

# METADATA
# title: What a server says of its sessions is for nobody
# description: |
#   All clients are sessions of the gateway to a server, so its arrays of session, security and subscription
#   diagnostics show each client what the others do (OPC 10000-5 §6.3.3, §6.3.4). Its counters may be granted.
# custom:
#   code: guardrail.opcua_diagnostics
#   iec62443: SR 4.1
deny contains {
	"code": "guardrail.opcua_diagnostics",
	"msg": "these nodes show the sessions of other clients",
} if {
	input.opcua.node in {
		"i=2290", # SubscriptionDiagnosticsArray
		"i=3706", "i=3707", "i=3708", # SessionsDiagnosticsSummary, SessionDiagnosticsArray, SessionSecurityDiagnosticsArray
	}
}

callable(method) if {
	foreign(method)
} else if {
	method in {
		"i=3875", "i=12912", # ConditionRefresh, ConditionRefresh2
		"i=9029", "i=9111", "i=9113", # AddComment, Acknowledge, Confirm
		"i=11492", "i=12873", # GetMonitoredItems, ResendData
	}
}

foreign(node) if {
	is_string(node)
	startswith(node, "nsu=")
	not startswith(node, "nsu=http://opcfoundation.org/UA/;")
}
