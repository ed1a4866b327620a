"""Floor 1: the journal. What is written, how it is kept, and how anybody can prove that nothing was changed.

Read in this order: `entry` (what a record says), `framing` and `log` (how it lies on disk), `tree` and
`note` (what is signed), `committer` (when it is durable), `windows` and `flood` (what is counted instead of
written), `journal` (the port the guard uses) with `backlog` (what waits) and `gap` (what could not be
recorded), `verify` (the proof).
"""
