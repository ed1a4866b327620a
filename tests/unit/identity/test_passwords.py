"""The password file: made by the command, private, and the same work for every answer."""

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.identity import passwords
from gateway.identity.passwords import COST, MOST_SECRET, Passwords
from gateway.model.errors import IdentityError


@pytest.fixture(scope="module")
def known() -> Passwords:
    return Passwords().having("operator", b"correct horse").having("longest", b"x" * MOST_SECRET)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The parameters of each hash that is computed."""
    done: list[dict[str, Any]] = []
    real = hashlib.scrypt

    def counted(secret: bytes, *, salt: bytes, **cost: Any) -> bytes:
        done.append({**cost, "salt": len(salt)})
        return real(secret, salt=salt, **cost)

    monkeypatch.setattr("gateway.identity.passwords.hashlib.scrypt", counted)
    return done


@pytest.mark.parametrize(
    ("name", "secret", "right"),
    [
        ("operator", b"correct horse", True),
        ("longest", b"x" * MOST_SECRET, True),
        ("operator", b"wrong", False),
        ("operator", b"", False),
        ("nobody", b"correct horse", False),
        ("", b"", False),
        ("operator", b"x" * (MOST_SECRET + 1), False),
        ("longest", b"x" * 1_000_000, False),
        ("nobody", b"x" * 1_000_000, False),
        ("Operator", b"correct horse", False),
    ],
)
def test_every_answer_costs_one_hash_of_the_same_parameters(
    known: Passwords, work: list[dict[str, Any]], name: str, secret: bytes, right: bool
) -> None:
    """Neither unknown users nor oversized secrets take less time: structure, not a stopwatch."""
    assert (known.matching(name, secret) is not None) is right
    assert work == [{**COST, "salt": 16}]


def test_two_users_of_one_password_do_not_look_alike() -> None:
    both = Passwords().having("a", b"same secret").having("b", b"same secret")
    assert both.users["a"] != both.users["b"]


@pytest.mark.parametrize("name", ["", "-x", "a b", "a:b", "оperator", "a" * 65, "a\n"])
def test_names_that_policy_should_not_compare(name: str) -> None:
    with pytest.raises(IdentityError, match="cannot be a user"):
        Passwords().having(name, b"long enough")


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * (MOST_SECRET + 1)])
def test_passwords_that_no_client_sends_or_anybody_guesses(secret: bytes) -> None:
    with pytest.raises(IdentityError, match="8 to 64 bytes"):
        Passwords().having("a", secret)


def test_users_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MOST_USERS", 1)
    one = Passwords().having("a", b"long enough")
    with pytest.raises(IdentityError, match="more than 1 users"):
        one.having("b", b"long enough")
    assert one.having("a", b"another one").users.keys() == {"a"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2, "users": {}}',
        '{"users": {"a": {"salt": "AAAA", "key": "AAAA"}}}',
        '{"users": {"a b": {"salt": "AAAAAAAAAAAAAAAAAAAAAA==", "key": "%s="}}}' % ("A" * 43),
    ],
)
def test_files_that_no_command_made(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(IdentityError):
        passwords.read(file)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    passwords.write(file, Passwords().having("a", b"long enough"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert passwords.read(file).users.keys() == {"a"}
    file.chmod(0o640)
    with pytest.raises(IdentityError, match="open to others"):
        passwords.read(file)


# the command ----------------------------------------------------------------------------------------------


class _Typed:
    """Somebody at a pipe or a terminal."""

    def __init__(self, text: str, terminal: bool = False) -> None:
        self.lines = text.splitlines(keepends=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def readline(self, most: int) -> str:
        return self.lines.pop(0)[:most] if self.lines else ""


def test_the_command_reads_a_line_and_says_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "users.json"
    monkeypatch.setattr("sys.stdin", _Typed("correct horse\n"))
    assert main(["pki", "user", "add", "operator", "--file", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert passwords.read(file).matching("operator", b"correct horse") is not None
    assert "correct horse" not in file.read_text()

    monkeypatch.setattr("sys.stdin", _Typed("battery staple\n"))
    assert main(["pki", "user", "add", "operator", "--file", str(file), "--json"]) == 0
    read = passwords.read(file)
    assert read.matching("operator", b"correct horse") is None
    assert read.matching("operator", b"battery staple") is not None

    assert main(["pki", "user", "list", "--file", str(file)]) == 0
    assert main(["pki", "user", "remove", "operator", "--file", str(file)]) == 0
    assert main(["pki", "user", "remove", "operator", "--file", str(file)]) == 2
    printed = capsys.readouterr()
    assert "added operator" in printed.out
    assert '"result": "changed"' in printed.out
    assert "horse" not in printed.out + printed.err
    assert "staple" not in printed.out + printed.err


def test_at_a_terminal_it_asks_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "users.json"
    monkeypatch.setattr("sys.stdin", _Typed("", terminal=True))
    typed = iter(["correct horse", "correct house", "correct horse", "correct horse"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    assert main(["pki", "user", "add", "operator", "--file", str(file)]) == 2
    assert not file.exists()
    assert main(["pki", "user", "add", "operator", "--file", str(file)]) == 0
    assert "differ" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["\n", "", "short\n", "x" * 65 + "\n"])
def test_a_line_that_is_no_password_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    file = tmp_path / "users.json"
    monkeypatch.setattr("sys.stdin", _Typed(line))
    assert main(["pki", "user", "add", "operator", "--file", str(file)]) == 2
    assert not file.exists()
    assert "8 to 64 bytes" in capsys.readouterr().err
