"""The simulated plant, a throw-away world around the real gateway, and the tour through it.

Nothing here is imported by the gateway. The gateway runs as in a plant: `python -m gateway run -c …`.
"""
