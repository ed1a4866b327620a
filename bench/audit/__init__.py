"""What a durable record costs, beside SQLite behind the same committer in the same run."""
