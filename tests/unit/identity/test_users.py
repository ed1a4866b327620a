"""Users on top of an application: whom policy sees, and when they count no more."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config.settings import OpcuaUsers, UserTokens
from gateway.identity import passwords
from gateway.identity.certificate import Refused
from gateway.identity.passwords import Passwords
from gateway.identity.users import User, Users
from gateway.model.errors import IdentityError
from gateway.model.moment import SECOND, Now
from tests.pki import Pki, moment

from .test_tokens import AUDIENCE, CERTIFICATE, EC, ISSUER, NOW_S, RSA, claims, jwk, made


def code(answer: User | Refused | None) -> str:
    return "in" if answer is None or isinstance(answer, User) else answer.code


def at(seconds: int) -> Now:
    return Now(0, 0, True, seconds * SECOND)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    names = {"passwords": tmp_path / "users.json", "keys": tmp_path / "jwks.json"}
    passwords.write(names["passwords"], Passwords().having("operator", b"correct horse"))
    names["keys"].write_text(json.dumps({"keys": [jwk(EC, kid="k")]}))
    return names


def by_password(files: dict[str, Path]) -> Users:
    return Users(OpcuaUsers(passwords=files["passwords"]))


def by_token(files: dict[str, Path]) -> Users:
    return Users(OpcuaUsers(tokens=UserTokens(issuer=ISSUER, audience=AUDIENCE, keys=files["keys"])))


def by_certificate(pki: Pki, **more: Any) -> Users:
    return Users(OpcuaUsers(anchors=pki.anchors("it"), crls=(pki.crl("it"),), **more))


def test_what_is_not_configured_names_nobody() -> None:
    users = Users(OpcuaUsers(anonymous=False))
    answers = [
        users.password("operator", "correct horse"),
        users.certificate(b"", moment()),
        users.token(made(claims()), CERTIFICATE, at(NOW_S)),
    ]
    assert [code(each) for each in answers] == ["user_kind"] * 3
    assert (users.anonymous, users.changed(), users.crl_state(moment())) == (False, False, "fresh")
    assert Users(OpcuaUsers()).anonymous


def test_a_password_until_it_is_changed(files: dict[str, Path]) -> None:
    users = by_password(files)
    user = users.password("operator", "correct horse")
    assert isinstance(user, User)
    assert (user.subject, user.expires_ns) == ("user:operator", None)
    refused = {users.password(name, "wrong") for name in ("operator", "nobody")}
    assert len(refused) == 1, "unknown and wrong look alike"
    assert code(users.still(user, moment())) == "in"

    passwords.write(files["passwords"], Passwords().having("operator", b"battery staple"))
    assert users.changed()
    assert (users.reload(), users.version) == (True, 1)
    assert code(users.still(user, moment())) == "user_gone"
    again = users.password("operator", "battery staple")
    assert isinstance(again, User)

    passwords.write(files["passwords"], passwords.read(files["passwords"]).having("other", b"long enough"))
    assert users.reload()
    assert code(users.still(again, moment())) == "in", "another entry is nobody else's business"
    passwords.write(files["passwords"], Passwords())
    users.reload()
    assert code(users.still(again, moment())) == "user_gone"
    assert not users.reload(), "the same file again is no change"


def test_a_token_until_it_expires_or_its_key_goes(files: dict[str, Path]) -> None:
    users = by_token(files)
    user = users.token(made(claims()), CERTIFICATE, at(NOW_S))
    assert isinstance(user, User)
    assert user.subject == "token:https://login.example#alice"
    assert code(users.token(made(claims()), b"another certificate", at(NOW_S))) == "token_binding"
    assert code(users.still(user, at(NOW_S + 269))) == "in"
    assert code(users.still(user, at(NOW_S + 270))) == "token_expired"

    files["keys"].write_text(json.dumps({"keys": [jwk(EC, kid="k"), jwk(RSA, kid="r")]}))
    assert users.reload()
    assert code(users.still(user, at(NOW_S))) == "in"
    files["keys"].write_text(json.dumps({"keys": [jwk(RSA, kid="k")]}))
    assert users.reload()
    assert code(users.still(user, at(NOW_S))) == "user_gone", "same name, another key"


def test_a_certificate_until_it_is_revoked(fresh_pki: Pki) -> None:
    mine = fresh_pki.issue("opcua-user", "it", "alice").der
    users = by_certificate(fresh_pki)
    user = users.certificate(mine, moment())
    assert isinstance(user, User)
    assert user.subject == "spiffe://demo.example/person/alice"
    later = moment(fresh_pki.now + timedelta(days=91))
    assert (code(users.still(user, moment())), code(users.still(user, later))) == ("in", "user_expired")
    fresh_pki.revoke("it", "alice")
    assert users.changed()
    assert users.reload()
    assert (code(users.still(user, moment())), users.version) == ("user_revoked", 2)

    curve = fresh_pki.issue("person", "it", "bob").der
    assert code(users.certificate(curve, moment())) == "user_weak_key"
    stranger = fresh_pki.issue("person", "plant", "carol").der
    assert code(users.certificate(stranger, moment())) == "user_unknown_issuer"
    assert code(users.certificate(b"\x30", moment())) == "user_unreadable"


@pytest.mark.parametrize("broken", ["passwords", "keys"])
def test_a_broken_new_file_leaves_the_old_in_force(files: dict[str, Path], broken: str) -> None:
    users = Users(
        OpcuaUsers(
            passwords=files["passwords"],
            tokens=UserTokens(issuer=ISSUER, audience=AUDIENCE, keys=files["keys"]),
        )
    )
    files[broken].write_text("{")
    assert users.changed()
    assert not users.reload()
    assert users.error is not None
    assert str(files[broken]) in users.error
    assert not users.changed(), "said once"
    assert code(users.password("operator", "correct horse")) == "in"
    assert code(users.token(made(claims()), CERTIFICATE, at(NOW_S))) == "in"
    files[broken].unlink()
    assert users.changed()
    with pytest.raises(IdentityError):
        Users(users.configured)


def test_no_secret_in_what_is_printed(files: dict[str, Path]) -> None:
    users = by_password(files)
    user = users.password("operator", "correct horse")
    assert "horse" not in repr(user) + repr(users) + repr(users.password("operator", "wrong horse"))
    token = made(claims())
    assert token.split(".")[1] not in repr(by_token(files).token(token, CERTIFICATE, at(NOW_S)))
    assert token.split(".")[1] not in repr(by_token(files).token(token, b"x", at(NOW_S)))


def test_lists_of_users_authorities_age(fresh_pki: Pki) -> None:
    users = by_certificate(fresh_pki)
    assert users.crl_state(moment()) == "fresh"
    assert users.crl_state(moment(fresh_pki.now + timedelta(days=30, hours=1))) == "stale"
    assert users.crl_state(moment(fresh_pki.now + timedelta(days=32))) == "grace_over"
    assert len(users.expiries()) == 1
