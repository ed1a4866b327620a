"""Floor 3: copies of the journal for others, in the words that SIEMs know. The journal stays the only proof.

Read in this order: `tail` (reads what is durable), `place` (how far a destination is, on disk), `shapes`
and `ocsf` (what a record becomes), `hiding` and `fitting` (what is left out of it), `syslog`, `receipt` and
`cloudevents` (how it travels), `destination` (one of them at work), `exporter` (all of them).

Rules that hold here:
- At least once: a destination's place moves only when the receiver has what lies before it. Whatever was sent
  without that receipt is sent again, under the same id.
- The id of an event is `<origin of the log>#<index in the log>`; so duplicates are known by it, and gaps too.
- Nothing here makes the journal wait: it is only read, in a thread, in bounded pieces.
"""
