"""`tallystick officer`: an officer's own key, made and kept by the officer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crypto.canonical import canonical_json
from crypto.keys import generate_signing_key
from crypto.keystore import Keystore
from protos.wire.terminal import TerminalError, ask_passphrase, say, stop_on_error

officer_app = typer.Typer(no_args_is_help=True, help="An officer's own signing key.")


@officer_app.callback()
def _officer() -> None:
    """An officer's own signing key."""


@officer_app.command("new-key")
@stop_on_error
def new_key(
    keystore: Annotated[
        Path, typer.Argument(help="The keystore to make or add to; it stays with the officer.")
    ],
    name: Annotated[str, typer.Option(help="The key's name in the keystore.")] = "signing",
    passphrase_file: Annotated[Path | None, typer.Option(help="A file with the passphrase.")] = None,
) -> None:
    """Makes a signing key and writes its public half beside the keystore, for the enrolment request."""
    public = keystore.with_suffix(".public.json")
    if public.exists():
        raise TerminalError(f"{public} exists; choose another keystore, or move it away")
    fresh = not keystore.exists()
    passphrase = ask_passphrase(passphrase_file, confirm=fresh)
    store = Keystore.create(keystore, passphrase) if fresh else Keystore.open(keystore, passphrase)
    key = generate_signing_key()
    store.add_signing(name, key)
    public.write_bytes(canonical_json(key.verify_key.to_json()))
    say(f"Private key: keystore:{keystore}#{name} (keep it, and its passphrase, to yourself)")
    say(f"Public key:  {public}")
    say(f"Key id:      {key.verify_key.key_id[:16]}")
