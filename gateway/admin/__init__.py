"""People's acts on the gateway: approvals that people sign, windows, stages, mode, break-glass; and the HTTPS API for them."""
