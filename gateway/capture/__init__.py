"""`python -m gateway.capture FILE`: a program of its own that turns a capture into TCP segments in order.

It reads pcap and pcapng with scapy, puts each direction of each connection in order, and writes what it finds
to standard output, for `dmz-gateway inspect` to decode. It knows TCP and nothing of what TCP carries.

Why a program of its own: scapy is GPL-2.0-only and the gateway is MIT. So this package imports scapy and the
standard library, and nothing else: no other part of the gateway, no package under Apache-2.0 or LGPL-3.0. And
no other part imports this one: what they share is the pipe, which `pipe` describes. import-linter holds it.

`file`        packets of a capture: the only file that names scapy
`packet`      link, IP and TCP headers, by hand: scapy's own dissection is a hundred times slower
`direction`   who of the two is the client
`stream`      one connection: retransmission, overlap, order, gaps
`streams`     all connections: port reuse, and the bounds that hold for all of them together
`pipe`        what is written, byte by byte

Nothing here grows with the capture: `streams.MOST_STREAMS`, `streams.MOST_HELD_BYTES`, `stream.MOST_HELD`.
"""
