# SPDX-License-Identifier: Apache-2.0
"""Signatures of models in serving: sigstore's model-signing, with a key of one's own and without a network.

What is signed are the SavedModel's files without their provenance: the copy that a rollback makes keeps its signature, and
needs no private key. The packages of the extra `sign` are imported where they are needed, and not before.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beam_jobs.errors import UserError
from components.model_digest import NOT_THE_MODEL, SIGNATURE_FILE


def check_private_key(private_key: Path) -> None:
    """Makes sure that models can be signed with a key.

    Raises:
        UserError: model-signing is not installed, or there is no such key, or it is of another kind.
    """
    _signer(private_key)


def check_public_key(public_key: Path) -> None:
    """Makes sure that signatures can be verified with a key. Raises as `check_private_key`."""
    _verifier(public_key)


def sign(folder: Path, private_key: Path, signature: Path) -> None:
    """Signs a SavedModel.

    Args:
        folder: the SavedModel's.
        private_key: file with an elliptic curve key, PEM and not encrypted.
        signature: file to write, a sigstore bundle.

    Raises:
        UserError: as `check_private_key`.
        OSError: a file cannot be read or written.
    """
    _signer(private_key).set_hashing_config(_what_is_signed()).sign(folder, signature)


def verify(folder: Path, public_key: Path) -> None:
    """Verifies the signature of a version in serving.

    Raises:
        UserError: as `check_public_key`; or the version is not signed, was signed with another key, or changed since. Then it
            says so of "it", without a name.
    """
    verifier = _verifier(public_key).set_hashing_config(_what_is_signed())
    if not (folder / SIGNATURE_FILE).is_file():
        raise UserError(f"it is not signed: there is no {SIGNATURE_FILE}")
    from cryptography.exceptions import InvalidSignature

    try:
        verifier.verify(folder, folder / SIGNATURE_FILE)
    except Exception as error:  # of many kinds, where the signature is damaged
        if isinstance(error, InvalidSignature) or str(error).startswith("Key mismatch"):
            raise UserError(f"it was signed with another key than {public_key}") from None
        if str(error).startswith("Signature mismatch"):
            raise UserError("its files are not those that were signed") from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"its signature {SIGNATURE_FILE} cannot be verified ({reason})") from None


@contextmanager
def public_key_of(private_key: Path) -> Iterator[Path]:
    """A file with the public part of a private key. Raises as `check_private_key`."""
    check_private_key(private_key)
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    key = load_pem_private_key(private_key.read_bytes(), None).public_key()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "public.pem")
        path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        yield path


def _signer(private_key: Path) -> Any:
    config = _model_signing().signing.Config()
    return _with_key(private_key, "private", lambda: config.use_elliptic_key_signer(private_key=private_key))


def _verifier(public_key: Path) -> Any:
    config = _model_signing().verifying.Config()
    return _with_key(public_key, "public", lambda: config.use_elliptic_key_verifier(public_key=public_key))


def _what_is_signed() -> Any:
    return _model_signing().hashing.Config().set_ignored_paths(paths=NOT_THE_MODEL, ignore_git_paths=False)


def _model_signing() -> Any:
    try:
        import model_signing
    except ImportError:
        raise UserError(
            "signatures of models need the package model-signing; `make setup EXTRAS=sign` installs it, "
            "or sign.lock beside the wheel"
        ) from None
    return model_signing


def _with_key(path: Path, kind: str, use: Callable[[], Any]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return use()
    except OSError as error:
        raise UserError(f"{path}: the {kind} key cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):  # no PEM, another curve; encrypted; RSA
        raise UserError(
            f"{path}: not a {kind} key that is PEM, not encrypted, and of the curve P-256, P-384 or P-521; "
            "docs/serving.md says how to make one"
        ) from None
