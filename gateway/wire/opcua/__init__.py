"""OPC UA over TCP: secure channels, services as rows of a table, operations, answers (OPC 10000-4, -6).

Bytes of a peer pass `framing` (how long is a chunk), a channel (who is it, is it whole, is it next in line),
then a strict scan that accounts for every byte. What goes on to a server is slices of what was scanned.

About services, beside the channels' own modules:

`services`        THE TABLE: which services exist, and where the items of each lie
`binary`          where each built-in type ends; `structures` the same of what is made of them
`request`         requests: read, parted, and sent on as slices; `answer` what comes back, joined again
`refusal`         our own answers
`meaning`         requests → operations; `wanted` and `watched` item by item
`session`         whose subscriptions, items and continuation points they are: `tables`, `owning`, `noting`
`values`          Variants and DataValues; `nodeid` nodes as texts; `codes` status codes as texts
`asking`          the gateway's own requests; `notifications` and `browsing` what comes of them
`reference`       the page docs/protocols/opcua.md, written from the table
"""
