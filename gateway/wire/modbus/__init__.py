"""Modbus/TCP, as the gateway understands it. What it does not understand goes nowhere.

`framing`         bytes → ADUs, by the MBAP length alone; framing once lost stays lost
`functions`       THE TABLE: which function codes exist here, and the rows that say what their bytes are
`bodies`          the layouts that rows are made of, on the four tables: parse, limits, the answer's check;
                  `diagnostics`, `files` and `identification` are the same about the device itself
`checks`          what many of them ask of a PDU
`frames`          the values that come out: requests, answers, and the ways of not being one
`findings`        the names of everything a peer can do against the protocol
`session`         which answer belongs to which request, and what is wrong between them
`behaviour`       what many ADUs add up to: scans, storms, writes out of the ordinary
`meaning`         requests → operations, in the words that policy asks about
`effects`         what a write makes of the tags it touches
`overlays`        tables in the same memory: the other names of what a request touches
`points`          registers ⇄ engineering values ⇄ the integers that policy sees
`refusal`         our reasons to say no, in the peer's own words
`reference`       the page docs/protocols/modbus.md, written from the table

Sources: MODBUS Application Protocol Specification V1.1b3 (April 2012), cited as "AP §…", and MODBUS
Messaging on TCP/IP Implementation Guide V1.0b (October 2006), cited as "MG §…".
"""
