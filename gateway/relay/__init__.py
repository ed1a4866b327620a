"""Floor 3: sockets, tasks and time. Listeners towards callers, links towards the plant."""
