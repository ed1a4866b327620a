"""Checkpoints off this machine, and what retention lets go or is dropped: all stand beside the journal."""

import asyncio
import sys
from typing import TYPE_CHECKING

from gateway.app.reviewing import INDEX
from gateway.audit.dropping import Dropping
from gateway.audit.proof import reading
from gateway.audit.retention import Retention
from gateway.audit.signer import Signer
from gateway.config.settings import CheckpointReceiver
from gateway.export.offbox import Offbox
from gateway.export.receivers import FileReceiver, HttpsReceiver, Receiver, Unanswered
from gateway.identity.contexts import client_context
from gateway.model.errors import JournalError
from gateway.policy import child
from gateway.publish.uns import Message

if TYPE_CHECKING:
    from gateway.app.parts import Parts

PURGE_S = 3600.0
"How long the index may take to forget: it may have to be built anew, from tens of millions of records."


def offbox(parts: "Parts", signer: Signer) -> Offbox:
    """The receivers of the configuration. To be made before the journal opens: it holds the signer."""
    section, own = parts.settings.audit.offbox, parts.settings.gateway
    receivers: list[Receiver] = []
    if section.https is not None:
        receivers.append(_https(section.https))
    if section.file is not None:
        receivers.append(FileReceiver(section.file, signer.verifier))

    async def publish(note: bytes) -> None:
        if parts.broker is None:
            raise Unanswered("there is no broker: add north.mqtt")
        topic = (section.topic or "").replace("{site}", own.site).replace("{gateway}", own.name)
        message = Message(topic=topic, payload=note, retain=True, content_type="text/plain; charset=utf-8")
        delivery = await parts.broker.carry(message)
        if not delivery.accepted:
            raise Unanswered(f"{topic}: {delivery.reason}")

    return Offbox(
        receivers,
        signer=signer,
        read=reading(parts.folder.sub("journal")),
        every_s=section.every_s,
        writes_before_answer=section.writes_before_answer,
        alarm=parts.alarm,
        publish=publish if section.topic is not None else None,
    )


def _https(section: CheckpointReceiver) -> HttpsReceiver:
    return HttpsReceiver(
        section.host,
        section.port,
        section.path,
        lambda: client_context(section.anchors, section.certificate, section.key),
    )


def retention(parts: "Parts") -> Retention:
    """Nothing goes where the configuration has no figure."""
    return Retention(
        parts.folder.sub("journal"),
        parts.settings.audit.retention,
        journal=parts.journal,
        clock=parts.now,
        alarm=parts.alarm,
        exported=parts.exporter.least_exported,
    )


def dropping(parts: "Parts") -> Dropping:
    """Orders are carried out whether anything is sensitive now or was once."""

    async def purge() -> None:
        """The index is brought up to date in a process of its own: searching is never done in this one."""
        if not (parts.folder.path / INDEX).is_file():
            return
        words = (sys.executable, "-m", "gateway", "audit", "index", "--data", str(parts.folder.path))
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *words, stdin=quiet, stdout=quiet, stderr=quiet, env=child.environment()
        )
        try:
            async with asyncio.timeout(PURGE_S):
                if await process.wait() != 0:
                    raise JournalError(
                        f"{INDEX} could not be brought up to date and still has names: delete it"
                    )
        except TimeoutError:
            raise TimeoutError(f"{INDEX} was not brought up to date in {PURGE_S:.0f} s: delete it") from None
        finally:
            if process.returncode is None:
                await child.kill(process)

    return Dropping(
        parts.folder.sub("journal"),
        parts.settings.audit.sensitive.days,
        journal=parts.journal,
        clock=parts.now,
        alarm=parts.alarm,
        purge=purge,
    )
