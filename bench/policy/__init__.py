"""What a decision costs, beside an OPA server on a unix socket in the same run."""
