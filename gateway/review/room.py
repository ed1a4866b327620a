"""The reading room: a process of its own that finds what reviewers ask for in the journal.

    python -m gateway.review.room PARENT JOURNAL INDEX

It reads segments, tiles and checkpoint, and writes nothing but the search index, which follows from them. It
does one job at a time (jobs.py), until its input ends; it steps back for everything else on the machine, may
take so much memory and no more, and the kernel ends a job that nobody ended.
"""

import os
import signal
import sys
from pathlib import Path

from gateway.audit.index import Index
from gateway.model.errors import JournalError
from gateway.policy import child
from gateway.review import answers, jobs
from gateway.review.jobs import Answer, Found, Job, Nothing

MOST_MEMORY = 4 * 1024 * 1024 * 1024
"Address space: the index is mapped, 1 GiB of it at most."
MOST_JOB = 64 * 1024
"Bytes of a question: a request line is shorter."
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


def main(words: list[str]) -> int:
    """Answer the gateway that started us, until the input ends."""
    child.bind(int(words[0]), MOST_MEMORY)
    os.nice(NICENESS)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    room = Room(Path(words[1]), Path(words[2]))
    while (body := child.read(source, MOST_JOB)) is not None:
        job = jobs.jobs.decode(body)
        signal.setitimer(signal.ITIMER_REAL, job.within_s * PATIENCE)  # its default ends the process
        target.write(child.framed(jobs.encoded(room.work(job))))
        target.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
