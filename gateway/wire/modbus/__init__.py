"""Modbus/TCP, as the gateway understands it. What it does not understand goes nowhere.

`framing`    bytes → ADUs, by the MBAP length alone; framing once lost stays lost
`functions`  THE TABLE: which function codes exist here, and the rows that say what their bytes are
`bodies`     the layouts that rows are made of: parse, limits, the check of an answer against its request
`frames`     the values that come out: requests, answers, and the ways of not being one
`findings`   the names of everything a peer can do against the protocol
`meaning`    requests → operations, in the words that policy asks about
`points`     registers ⇄ engineering values ⇄ the integers that policy sees
`refusal`    our reasons to say no, in the peer's own words
`reference`  the page docs/protocols/modbus.md, written from the table

Sources: MODBUS Application Protocol Specification V1.1b3 (April 2012), cited as "AP §…", and MODBUS
Messaging on TCP/IP Implementation Guide V1.0b (October 2006), cited as "MG §…".
"""
