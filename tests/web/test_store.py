"""The typed settings: storing, validation of input, and hiding of passwords."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from spech.errors import VaultError
from spech.web.store import Settings, Store, StoredAccount
from spech.web.vault import KEY_VARIABLE, Vault

KNOWN = frozenset({"PCMU", "PCMA"})
GOOD = StoredAccount(
    id="a1",
    server="sip.example.org",
    port=5060,
    transport="udp",
    user="alice",
    password="tr0ub4dor&3",
    codecs=("PCMU", "PCMA"),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv(KEY_VARIABLE, "5a" * 32)
    return Store(Vault(tmp_path))


def test_stored_settings_are_read_back(store: Store) -> None:
    assert store.load() is None
    second = msgspec.structs.replace(GOOD, id="a2", name="Work", user="bob")
    store.save(Settings((GOOD, second)))
    assert store.load() == Settings((GOOD, second))
    store.save(Settings())
    assert store.load() == Settings()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"{}", b'{"version":3}', b'{"version":2,"news":3}', b"\xff\xfe"]
)
def test_content_of_another_version_is_refused_and_not_changed(
    store: Store, content: bytes
) -> None:
    store.vault.write(content)
    with pytest.raises(VaultError, match="another version"):
        store.load()
    with pytest.raises(VaultError, match="another version"):
        store.save(Settings((GOOD,)))
    assert store.vault.read() == content


@pytest.mark.parametrize("encryption", ["", ',"encryption":"optional"'])
def test_a_vault_of_one_account_is_read(store: Store, encryption: str) -> None:
    """Written before there could be several."""
    account = (
        '{"server":"sip.example.org","port":5060,"transport":"udp","user":"alice",'
        f'"password":"tr0ub4dor&3","codecs":["PCMU","PCMA"]{encryption}}}'
    )
    store.vault.write(f'{{"version":1,"account":{account}}}'.encode())
    settings = store.load()
    assert settings is not None
    policy = "optional" if encryption else "off"
    assert settings.accounts == (msgspec.structs.replace(GOOD, encryption=policy),)
    store.save(settings)
    assert store.load() == settings
    assert b'"version":2' in (store.vault.read() or b"")


def test_a_vault_without_its_one_account_is_read(store: Store) -> None:
    store.vault.write(b'{"version":1,"account":null}')
    assert store.load() == Settings()


def test_no_password_is_shown() -> None:
    assert GOOD.password not in repr(GOOD)
    assert GOOD.password not in repr(Settings((GOOD,)))
    assert GOOD.password not in str(Settings((GOOD,)))


def test_valid_settings_have_no_fault() -> None:
    assert GOOD.fault(KNOWN) is None
    for server in ("127.0.0.1", "::1", "fe80::1", "localhost", "a_b.example", "xn--bcher-kva.de"):
        assert msgspec.structs.replace(GOOD, server=server, port=None).fault(KNOWN) is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "a" * 65}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"server": ""}, "server"),
        ({"server": "sip:example.org"}, "server"),
        ({"server": "example.org:5060"}, "server"),
        ({"server": "a b"}, "server"),
        ({"server": "a\r\nVia: b"}, "server"),
        ({"server": "a;maddr=b"}, "server"),
        ({"server": "a" * 300}, "server"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": -1}, "port"),
        ({"transport": "pigeon"}, "transport"),
        ({"user": ""}, "user"),
        ({"user": "alice@example.org"}, "user"),
        ({"user": "a\nb"}, "user"),
        ({"user": "a" * 256}, "user"),
        ({"password": "a\x00b"}, "password"),
        ({"password": "a" * 1025}, "password"),
        ({"codecs": ()}, "codec"),
        ({"codecs": ("PCMU", "PCMU")}, "codec"),
        ({"codecs": ("MP3",)}, "MP3"),
    ],
)
def test_faults_are_described_in_words(change: dict[str, object], word: str) -> None:
    fault = msgspec.structs.replace(GOOD, **change).fault(KNOWN)
    assert fault is not None
    assert word in fault


def test_the_address_is_a_sip_uri() -> None:
    def address(**change: object) -> str:
        return msgspec.structs.replace(GOOD, **change).address

    assert address() == "sip:alice@sip.example.org:5060"
    assert address(port=None) == "sip:alice@sip.example.org"
    assert address(server="::1") == "sip:alice@[::1]:5060"
    assert address(user="+49 (30) 1;x>") == "sip:+49%20(30)%201;x%3E@sip.example.org:5060"
    assert address(user="zoë") == "sip:zo%C3%AB@sip.example.org:5060"
