# SPDX-License-Identifier: Apache-2.0
"""Signatures of versions in serving, held against sigstore's own command line and keys of openssl."""

import shutil
from pathlib import Path

import pytest
from keys import KeyPair, make_keys, openssl, sign_outside, verified_outside

from beam_jobs.errors import UserError
from components.model_digest import PROVENANCE_FILE, SIGNATURE_FILE
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, read_provenance, roll_back, versions
from components.pusher.withdrawn import read_withdrawn
from components.signing import check_private_key, check_public_key, verify

pytest.importorskip("model_signing", reason="the optional package model-signing is not installed")


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path / "keys")


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving"


def put(serving: Path, content: str, private_key: Path | None = None, keep: int = 9) -> Path:
    """A version whose files say `content`."""
    model = serving.parent / f"model-{content}"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_text(content)
    (model / "variables/variables.index").write_text(content)
    return serving / str(push(model, serving, Provenance(by="gate", login="ada@host"), keep, private_key).version)


def refusal(version: Path, public_key: Path) -> str:
    with pytest.raises(UserError) as refused:
        verify(version, public_key)
    return str(refused.value)


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
def test_what_we_sign_sigstore_verifies_and_the_other_way_round(tmp_path, serving, curve):
    keys = make_keys(tmp_path / "keys", curve)
    signed, unsigned = put(serving, "a", keys.private), put(serving, "b")

    assert verified_outside(signed, keys.public)
    assert not verified_outside(unsigned, keys.public)
    sign_outside(unsigned, keys.private)
    verify(unsigned, keys.public)
    verify(signed, keys.public)


def test_a_version_that_is_not_signed_or_with_another_key_is_refused(tmp_path, serving, keys):
    other = make_keys(tmp_path / "other")
    assert refusal(put(serving, "a"), keys.public) == f"it is not signed: there is no {SIGNATURE_FILE}"
    for number, version in enumerate((put(serving, "b", other.private), put(serving, "c"))):
        if number:
            sign_outside(version, other.private)
        assert refusal(version, keys.public) == f"it was signed with another key than {keys.public}"
        assert not verified_outside(version, keys.public)


def change_a_bit(version: Path) -> None:
    path = version / "variables/variables.index"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def add_a_file(version: Path) -> None:
    (version / "assets.extra/tf_serving_warmup_requests").write_text("")


def add_a_hidden_folder(version: Path) -> None:
    (version / ".git").mkdir()
    (version / ".git/hook").write_text("")


def lose_a_file(version: Path) -> None:
    (version / "variables/variables.index").unlink()


def rename_a_file(version: Path) -> None:
    (version / "variables/variables.index").rename(version / "variables/other")


CHANGES = [change_a_bit, add_a_file, add_a_hidden_folder, lose_a_file, rename_a_file]


@pytest.mark.parametrize("change", CHANGES)
def test_a_version_that_was_changed_is_refused(serving, keys, change):
    version = put(serving, "a", keys.private)
    change(version)
    assert refusal(version, keys.public) == "its files are not those that were signed"


def test_a_signature_of_another_model_or_a_damaged_one_is_refused(serving, keys):
    first, second = put(serving, "a", keys.private), put(serving, "b", keys.private)
    shutil.copy(first / SIGNATURE_FILE, second / SIGNATURE_FILE)
    assert refusal(second, keys.public) == "its files are not those that were signed"
    whole = (first / SIGNATURE_FILE).read_bytes()
    for damaged in (b"", b"{}", b"no JSON", whole[:-20], whole.replace(b"payload", b"pay"), whole.replace(b"sig", b"gis")):
        (first / SIGNATURE_FILE).write_bytes(damaged)
        said = refusal(first, keys.public)
        assert said.startswith(f"its signature {SIGNATURE_FILE} cannot be verified (")
        assert "\n" not in said


def test_every_bit_of_what_is_signed_counts(serving, keys):
    """The signature's payload, and the signature itself, changed somewhere: by whoever has no key."""
    import base64
    import json

    version = put(serving, "a", keys.private)
    bundle = json.loads((version / SIGNATURE_FILE).read_bytes())
    envelope = bundle["dsseEnvelope"]
    for holder, key in ((envelope, "payload"), (envelope["signatures"][0], "sig")):
        right = holder[key]
        content = bytearray(base64.b64decode(right))
        content[len(content) // 2] ^= 1
        holder[key] = base64.b64encode(content).decode()
        (version / SIGNATURE_FILE).write_text(json.dumps(bundle))
        assert refusal(version, keys.public) == f"it was signed with another key than {keys.public}"
        holder[key] = right
    (version / SIGNATURE_FILE).write_text(json.dumps(bundle))
    verify(version, keys.public)


MAKE = {
    "RSA": ["genrsa", "-out"],
    "Ed25519": ["genpkey", "-algorithm", "ed25519", "-out"],
    "another curve": ["ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out"],
    "encrypted": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "pass:x", "-out"],
}


@pytest.mark.parametrize("kind", [*MAKE, "text", "folder", "missing"])
def test_a_key_of_another_kind_is_one_line_that_says_which(tmp_path, kind):
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    if kind in MAKE:
        openssl(*MAKE[kind], private)
        openssl("pkey", "-in", private, "-passin", "pass:x", "-pubout", "-out", public)
    for path, check in ((private, check_private_key), (public, check_public_key)):
        if kind == "text":
            path.write_text("no key")
        elif kind == "folder":
            path.mkdir()
        elif kind == "encrypted" and path == public:
            continue
        with pytest.raises(UserError, match=f"^{path}: (not a|the) (private|public) key ") as refused:
            check(path)
        assert "\n" not in str(refused.value)


# In the serving folder.


def test_a_version_appears_with_its_signature_and_its_digest_is_that_of_the_model(serving, keys, tmp_path):
    version = put(serving, "a", keys.private)
    stored = read_provenance(serving, int(version.name))
    assert (version / PROVENANCE_FILE).is_file() and (version / SIGNATURE_FILE).is_file()
    assert stored.model_digest == read_provenance(serving, int(put(tmp_path / "unsigned" / "serving", "a").name)).model_digest


def test_where_the_key_cannot_be_used_nothing_is_pushed(serving, keys):
    first = put(serving, "a", keys.private)
    with pytest.raises(UserError, match="the private key cannot be read"):
        put(serving, "b", keys.private.with_name("nowhere.pem"))
    assert [path.name for path in serving.iterdir() if path.name.isdigit()] == [first.name]


def test_a_rollback_keeps_the_signature_and_goes_to_what_was_signed_alone(serving, keys, tmp_path):
    unsigned, signed, _ = put(serving, "a"), put(serving, "b", keys.private), put(serving, "c", keys.private)

    stored = roll_back(serving, None, "Ada", "ada@host", "", keys.public)

    assert stored.rolled_back_to == int(signed.name)
    verify(serving / str(stored.version), keys.public)
    assert verified_outside(serving / str(stored.version), keys.public)
    before, withdrawn = versions(serving), read_withdrawn(serving)
    with pytest.raises(UserError, match=f"^{unsigned}: it is not signed: .*; give another version of {unsigned.name}, "):
        roll_back(serving, int(unsigned.name), "Ada", "ada@host", "", keys.public)
    with pytest.raises(UserError, match="it was signed with another key"):
        roll_back(serving, int(signed.name), "Ada", "ada@host", "", make_keys(tmp_path / "other").public)
    with pytest.raises(UserError, match="the public key cannot be read"):
        roll_back(serving, int(signed.name), "Ada", "ada@host", "", tmp_path / "nowhere")
    assert (versions(serving), read_withdrawn(serving)) == (before, withdrawn)
