"""The reading room: a process of its own that finds what reviewers ask for in the journal.

    python -m gateway.review.room JOURNAL INDEX

It reads segments, tiles and checkpoint, and writes nothing but the search index, which follows from them. It
does one job at a time (jobs.py), until its input ends; it steps back for everything else on the machine, may
take so much memory and no more, and the kernel ends a job that nobody ended.
"""

import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO

from gateway.audit.index import Index
from gateway.model.errors import JournalError
from gateway.review import answers, jobs
from gateway.review.jobs import Answer, Found, Job, Nothing

MOST_MEMORY = 4 * 1024 * 1024 * 1024
"Address space: the index is mapped, 1 GiB of it at most."
NICENESS = 10
"How far it steps back: the plant's requests go first."
PATIENCE = 2.0
"Times the gateway's own limit after which the kernel ends a job that nobody ended."
MOST_BODY = jobs.MOST_ANSWER - 1024
"Its wrapping takes some bytes."
TOO_MUCH = Nothing(400, "too_much", "the answer is too long: ask for a shorter time, or for less")


class Room:
    """The journal, and the index to it."""

    def __init__(self, journal: Path, index: Path) -> None:
        self._journal = journal
        self._index = Index(journal, index)

    def work(self, job: Job) -> Answer:
        """Do one job."""
        try:
            self._index.refresh()
            if job.wish is None:
                return Found(b"")
            found = answers.answer(job.wish, self._journal, self._index)
            return TOO_MUCH if isinstance(found, Found) and len(found.body) > MOST_BODY else found
        except JournalError as error:
            return Nothing(503, "journal", str(error))


def serve(room: Room, source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer until the input ends."""
    while len(head := source.read(jobs.LENGTH)) == jobs.LENGTH:
        job = jobs.jobs.decode(source.read(int.from_bytes(head, "big")))
        signal.alarm(int(job.within_s * PATIENCE))
        sink.write(jobs.framed(jobs.encoded(room.work(job))))
        sink.flush()
        signal.alarm(0)


def main() -> None:
    """Serve the gateway that started us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which then ends our input
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    os.nice(NICENESS)
    journal, index = map(Path, sys.argv[1:])
    serve(Room(journal, index), sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
