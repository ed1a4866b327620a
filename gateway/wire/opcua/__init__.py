"""OPC UA over TCP: chunks and secure channels, services as rows of a table, operations, answers (OPC 10000-4, -6).

Bytes of a peer pass `framing` (how long is a chunk), a channel (who is it, is it whole, is it next in line),
then a strict scan that accounts for every byte. What goes on to a server is slices of what was scanned.
"""
