"""Floor 3: reviewers read the journal over HTTPS, by a role that can do nothing else; every look is recorded."""
