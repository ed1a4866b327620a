"""The shipped policy: what it decides, that OPA agrees, and that sharing decisions changes none."""
