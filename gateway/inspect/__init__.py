"""`dmz-gateway inspect`: what a capture says, read by the same wire code that reads live traffic.

`program`       starts the capture program, which is not ours to import (DESIGN §11)
`segments`      the pipe from it: bytes → events
`dialogue`      one TCP connection: events → ADUs with findings; where framing or bytes are lost
`conversation`  one client and one server, all their connections: what adds up
`breakage`      what the gateway would break between those two, before any policy
`named`         who the clients are: what `--as` says
`judge`         what a policy would decide
`refusals`      what would be stopped, in every stage and only once enforced
`report`        the same for people and for programs
`inspection`    joins them

Nothing here grows with the capture but the number of conversations, which is bounded (`inspection`).
"""
