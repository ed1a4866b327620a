"""Floor 3: the tools of people who write policy: explain, replay, diff, learn. Nothing here decides for a plant."""
