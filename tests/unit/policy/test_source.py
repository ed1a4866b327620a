"""A source hands on what may be used, from a folder or an archive, and nothing else."""

from pathlib import Path

import pytest

from gateway.config.settings import Signing
from gateway.model.errors import PolicyError
from gateway.policy import archive
from gateway.policy.serials import Serials
from gateway.policy.source import Admission, Disk
from tests.policy.questions import shipped
from tests.unit.policy.archives import NOW, SCOPE, Signer, released


class Place:
    """A folder with an archive, a key, and what a gateway knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signer = Signer(folder)
        self.archive = folder / "dmz.tar.gz"
        self.serials = Serials(folder / "serial", folder / "copies")

    def disk(self, *, signed: bool, place: Path | None = None) -> Disk:
        signing = Signing(keys=(self.signer.public,), scope=SCOPE) if signed else None
        return Disk(place or self.archive, Admission(signing, self.serials))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_folder_where_no_signature_is_asked_for(place: Place) -> None:
    shipped().write_to(place.folder / "policies")
    found = await place.disk(signed=False, place=place.folder / "policies").fetch(NOW)
    assert (found.bundle, found.key_id) == (shipped(), None)
    with pytest.raises(PolicyError, match="a folder carries no signature"):
        await place.disk(signed=True, place=place.folder / "policies").fetch(NOW)


async def test_an_archive_with_and_without_signature(place: Place) -> None:
    place.archive.write_bytes(place.signer.archive(released(1)))
    found = await place.disk(signed=True).fetch(NOW)
    assert (found.bundle, found.key_id) == (released(1), "release")
    assert (await place.disk(signed=False).fetch(NOW)).bundle == released(1)
    place.archive.write_bytes(archive.pack(released(1).members()))
    assert (await place.disk(signed=False).fetch(NOW)).key_id is None
    with pytest.raises(PolicyError, match="is not signed"):
        await place.disk(signed=True).fetch(NOW)


async def test_what_was_active_is_the_least_from_then_on(place: Place) -> None:
    disk = place.disk(signed=True)
    place.archive.write_bytes(place.signer.archive(released(2)))
    disk.activated(await disk.fetch(NOW))
    place.archive.write_bytes(place.signer.archive(released(1)))
    with pytest.raises(PolicyError, match="rolled back"):
        await disk.fetch(NOW)


async def test_a_key_may_be_replaced_while_it_runs(place: Place) -> None:
    disk = place.disk(signed=True)
    place.archive.write_bytes(place.signer.archive(released(1)))
    await disk.fetch(NOW)
    fresh = Signer(place.folder)  # writes over release.pem
    with pytest.raises(PolicyError, match="does not hold"):
        await disk.fetch(NOW)
    place.archive.write_bytes(fresh.archive(released(1)))
    await disk.fetch(NOW)
    fresh.public.unlink()
    with pytest.raises(PolicyError, match="cannot be read"):
        await disk.fetch(NOW)


async def test_nothing_there_is_a_fault(place: Place) -> None:
    for signed in (False, True):
        with pytest.raises(PolicyError):
            await place.disk(signed=signed).fetch(NOW)


async def test_two_keys_may_sign_while_one_replaces_the_other(place: Place) -> None:
    second = Signer(place.folder, "release-2027")
    signing = Signing(keys=(place.signer.public, second.public), scope=SCOPE)
    disk = Disk(place.archive, Admission(signing, place.serials))
    for signer in (place.signer, second):
        place.archive.write_bytes(signer.archive(released(1)))
        assert (await disk.fetch(NOW)).key_id == signer.id
