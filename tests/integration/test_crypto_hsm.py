"""A real PKCS#11 module: SoftHSM2, where it is installed (`.ci/run` installs it).

`SOFTHSM2_MODULE` names the module if it is not in the usual place.
"""

import importlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crypto.envelope import payload_type, sign_envelope, verified_keys
from crypto.errors import SignerError
from crypto.signers import load_signer

MODULE = os.environ.get("SOFTHSM2_MODULE", "/usr/lib/softhsm/libsofthsm2.so")
UTIL = shutil.which("softhsm2-util")
EDWARDS25519 = b"\x13\x0cedwards25519"

pytestmark = pytest.mark.skipif(
    not Path(MODULE).exists() or UTIL is None,
    reason="needs SoftHSM2 (Debian: softhsm2)",
)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI prefix of a token with the keys `siro` (id 1) and `dpo` (id 2)."""
    assert UTIL is not None
    folder = tmp_path_factory.mktemp("softhsm")
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(config)
    pins = ("--so-pin", "1234", "--pin", "1234")
    subprocess.run(
        [UTIL, "--module", MODULE, "--init-token", "--free", "--label", "officers", *pins],
        check=True,
        capture_output=True,
    )
    pkcs11: Any = importlib.import_module("pkcs11")
    parameters = {pkcs11.Attribute.EC_PARAMS: EDWARDS25519}
    with pkcs11.lib(MODULE).get_token(token_label="officers").open(user_pin="1234", rw=True) as session:
        for number, label in enumerate(("siro", "dpo"), start=1):
            domain = session.create_domain_parameters(pkcs11.KeyType.EC_EDWARDS, parameters, local=True)
            domain.generate_keypair(
                mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                label=label,
                id=bytes([number]),
            )
    return "pkcs11:token=officers;{}?module-path=" + MODULE


def test_two_officers_sign_with_keys_in_one_device(token: str) -> None:
    siro = load_signer(token.format("object=siro"), lambda: "1234")
    dpo = load_signer(token.format("id=%02"), lambda: "1234")
    keys = {siro.verify_key, dpo.verify_key}
    assert len(keys) == 2
    assert verified_keys(sign_envelope(payload_type("x"), b"1", [siro, dpo]), keys) == keys


def test_the_device_refuses_a_wrong_pin_even_while_another_signs(token: str) -> None:
    load_signer(token.format("object=siro"), lambda: "1234").sign(b"text")
    for uri, pin in ((token.format("object=siro"), "0000"), (token.format("object=nobody"), "1234")):
        with pytest.raises(SignerError):
            load_signer(uri, lambda pin=pin: pin)  # type: ignore[misc]  # mypy cannot infer the default
