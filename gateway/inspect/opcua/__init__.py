"""OPC UA in captures: what is in clear is read by the wire code of the live door, the rest told by its look.

`chunks`        one side of a connection: bytes → chunks; gaps
`line`          one line of the story
`dialogue`      one connection: chunks → lines with findings
`opening`       Hello to OpenSecureChannel: what it says although messages are encrypted
`services`      messages in clear: services, sessions, operations, answers
`local`         discovery and sessions: what they say that people want to know
`certificates`  what a certificate says, and whether a gateway would let it in
`around`        what all connections share
`servers`       which asset a server is, and its namespaces
`breakage`      what the gateway would break, before any policy
`findings`      the names of what is wrong
`conversation`  one client and one server: what adds up
`report`        the same for people and for programs
`inspection`    joins them, and asks policy

A channel without security is read to the last byte. One that is signed only is read as well. Of an encrypted
one nothing is read but what stands outside: addresses, policy, certificates, sizes, renewals.
"""
