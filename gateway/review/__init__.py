"""Floor 3: reviewers read the journal over HTTPS and can do nothing else; every look is itself recorded.

`api` lets in, decides and records; `rows` is the table of what there is; `desk` keeps the other process, in
which `reader` finds the answers, so that no search ever takes the gateway's own time.
"""
