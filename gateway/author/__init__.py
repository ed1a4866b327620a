"""Floor 3: what people who write policy use: explain, replay, diff, learn. Nothing here decides."""
