# SPDX-License-Identifier: Apache-2.0
"""Keys that openssl makes, and sigstore's own command line, which shares no code with this project."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from components.model_digest import PROVENANCE_FILE, SIGNATURE_FILE


@dataclass(frozen=True)
class KeyPair:
    private: Path
    public: Path


def make_keys(folder: Path, curve: str = "prime256v1") -> KeyPair:
    """As docs/serving.md says."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = KeyPair(folder / "private.pem", folder / "public.pem")
    openssl("ecparam", "-name", curve, "-genkey", "-noout", "-out", pair.private)
    openssl("pkey", "-in", pair.private, "-pubout", "-out", pair.public)
    return pair


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def model_signing(verb: str, version: Path, option: str, key: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    """`model_signing sign` or `verify`, with a key, of a version in serving."""
    words = ["-m", "model_signing", verb, "key", version, "--signature", version / SIGNATURE_FILE, option, key, *more]
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=120)


def sign_outside(version: Path, key: Path) -> None:
    (version / SIGNATURE_FILE).parent.mkdir(exist_ok=True)
    done = model_signing("sign", version, "--private_key", key, "--ignore-paths", version / PROVENANCE_FILE)
    assert done.returncode == 0, done.stderr


def verified_outside(version: Path, key: Path) -> bool:
    return model_signing("verify", version, "--public_key", key).returncode == 0
