"""The policy package, part by part."""
