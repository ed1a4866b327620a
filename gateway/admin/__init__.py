"""Floor 3: people act on the gateway. Approvals, windows, stages, activation, break-glass, over HTTPS.

`wanted` and `statement` are what a person signs, `votes` says whether it counts. `approvals` and `posture`
hold what people agreed to and set, in a `store` that survives. `route` and `api` are the door,
`approval_routes` and `posture_routes` its table, `client` is who calls it.
"""
