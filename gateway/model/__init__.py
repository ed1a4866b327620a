"""Floor 0: the words. Imports nothing of ours; no input or output, no clock."""
