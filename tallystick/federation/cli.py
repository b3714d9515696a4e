"""`tallystick federation`: what the office and the root holders do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from crypto.canonical import parse_strict
from crypto.keys import VerifyKey
from crypto.signers import load_signer
from policies.codec import document_hash, parse, write
from policies.enrolment import AgencyRequest, BrokerRequest, fingerprint
from policies.errors import DocumentError
from policies.ids import AgencyId, FederationId, PersonId
from policies.registry import Registry
from policies.root import Root, RootKey
from protos.wire.terminal import ask_passphrase, read_json, say, stop_on_error
from tallystick.federation.office import FederationOffice, OfficeError, SigningProgress, next_root

federation_app = typer.Typer(no_args_is_help=True, help="The federation's office: authority, root, registry.")

Folder = Annotated[Path, typer.Option("--dir", help="The office's folder.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="A file with the passphrase; otherwise TALLYSTICK_PASSPHRASE, or a prompt."),
]
Expect = Annotated[
    str | None,
    typer.Option("--fingerprint", help="The fingerprint of what you read; nothing else is signed."),
]
KeyUri = Annotated[str, typer.Option("--key", help="The root holder's key, as keystore:FILE#NAME.")]

_DEFAULT_FOLDER = Path("federation")


@federation_app.command()
@stop_on_error
def init(
    federation: Annotated[
        str, typer.Argument(help="The federation's id: lower-case letters, digits, hyphens.")
    ],
    root_key: Annotated[
        list[str],
        typer.Option(
            help="One per root holder: PERSON:ORGANISATION:PUBLIC-KEY-FILE (see `tallystick officer`)."
        ),
    ],
    threshold: Annotated[
        int, typer.Option(help="How many persons must sign the root and each registry.")
    ] = 2,
    organisations: Annotated[int, typer.Option(help="From how many organisations at least.")] = 1,
    days: Annotated[int, typer.Option(help="How long the root is valid.")] = 365,
    folder: Folder = _DEFAULT_FOLDER,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Founds a federation: an authority, and a root that its holders then sign."""
    now = datetime.now(UTC).replace(microsecond=0)
    root = Root(
        federation=FederationId(federation),
        version=1,
        expires=now + timedelta(days=days),
        threshold=threshold,
        minimum_organisations=organisations,
        keys=tuple(_root_key(text) for text in root_key),
    )
    passphrase = ask_passphrase(passphrase_file, confirm=True)
    FederationOffice.create(folder, root, passphrase, now)
    say(f"Federation {federation} founded in {folder}.")
    say(f"Root 1 fingerprint: {fingerprint(root)}. Give it to every agency out of band.")
    say(f"Anchor: {document_hash(root)}. Give it to every officer out of band.")
    say(f"Next: {threshold} root holders run `tallystick federation sign-root --dir {folder} --key ...`.")


@federation_app.command("sign-root")
@stop_on_error
def sign_root(
    key: KeyUri,
    expect: Expect = None,
    folder: Folder = _DEFAULT_FOLDER,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Adds a root holder's signature to the root that is up for signing."""
    office = FederationOffice.open(folder, ask_passphrase(passphrase_file))
    _say_draft(office.root_draft(), expect)
    signer = load_signer(key, lambda: ask_passphrase(None, prompt="Passphrase of the root holder's key"))
    _say_progress("root", office.sign_root(signer))


@federation_app.command("renew-root")
@stop_on_error
def renew_root(
    days: Annotated[int, typer.Option(help="How long the next root is valid.")] = 365,
    root_key: Annotated[list[str] | None, typer.Option(help="Other holders than now, as for `init`.")] = None,
    folder: Folder = _DEFAULT_FOLDER,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Proposes the next root: the old threshold and the new one must both sign it."""
    office = FederationOffice.open(folder, ask_passphrase(passphrase_file))
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    root = next_root(office.root(), expires)
    if root_key:
        root = Root(
            federation=root.federation,
            version=root.version,
            expires=root.expires,
            threshold=root.threshold,
            minimum_organisations=root.minimum_organisations,
            keys=tuple(_root_key(text) for text in root_key),
        )
    office.propose_root(root)
    say(f"Root {root.version} waits for signatures. Fingerprint: {fingerprint(root)}")


@federation_app.command()
@stop_on_error
def admit(
    request: Annotated[
        Path, typer.Argument(help="The enrolment request that `init` of a node or broker wrote.")
    ],
    expect: Annotated[
        str, typer.Option("--fingerprint", help="The fingerprint that the member told you out of band.")
    ],
    folder: Folder = _DEFAULT_FOLDER,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Issues a certificate to a member whose request you have checked, and lists it in the next registry."""
    document = read_request(request)
    if fingerprint(document).replace(" ", "") != expect.replace(" ", "").lower():
        raise OfficeError(
            f"{request}: the fingerprint is {fingerprint(document)}, not the one given. "
            "Do not go on before you know why: somebody may have changed the request on its way."
        )
    office = FederationOffice.open(folder, ask_passphrase(passphrase_file))
    office.admit(document, datetime.now(UTC))
    member = "broker" if isinstance(document, BrokerRequest) else document.agency
    say(f"{member} admitted. Next: `tallystick federation propose-registry`, and the root holders sign it.")


@federation_app.command("propose-registry")
@stop_on_error
def propose_registry(
    days: Annotated[int, typer.Option(help="How long the registry is valid.")] = 90,
    folder: Folder = _DEFAULT_FOLDER,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Puts a registry of everybody admitted so far up for signing."""
    office = FederationOffice.open(folder, ask_passphrase(passphrase_file))
    registry = office.propose_registry(datetime.now(UTC), days)
    say(f"Registry {registry.version} waits for signatures: {len(registry.agencies)} agencies,")
    for agency in registry.agencies:
        say(f"  {agency.id}: {len(registry.officers_of(agency.id))} officers")
    say(f"Fingerprint: {fingerprint(registry)}")


@federation_app.command("sign-registry")
@stop_on_error
def sign_registry(
    key: KeyUri,
    expect: Expect = None,
    folder: Folder = _DEFAULT_FOLDER,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Adds a root holder's signature to the registry that is up for signing."""
    office = FederationOffice.open(folder, ask_passphrase(passphrase_file))
    _say_draft(office.registry_draft(), expect)
    signer = load_signer(key, lambda: ask_passphrase(None, prompt="Passphrase of the root holder's key"))
    _say_progress("registry", office.sign_registry(signer))


@federation_app.command()
@stop_on_error
def answer(
    member: Annotated[str, typer.Argument(help="The agency's id, or `broker`.")],
    out: Annotated[Path, typer.Option(help="Where to write the answer.")],
    folder: Folder = _DEFAULT_FOLDER,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Writes what an admitted member needs to join: `tallystick node enrol` or `broker enrol` installs it."""
    office = FederationOffice.open(folder, ask_passphrase(passphrase_file))
    out.write_bytes(write(office.answer(member)))
    say(f"{out}: certificate and trust documents for {member}; nothing in it is secret.")


@federation_app.command()
@stop_on_error
def withdraw(
    member: Annotated[str, typer.Argument(help="The agency's id.")],
    folder: Folder = _DEFAULT_FOLDER,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Leaves a member out of the next registry; propose and sign that registry to make it so."""
    FederationOffice.open(folder, ask_passphrase(passphrase_file)).withdraw(AgencyId(member))
    say(f"{member} will not be in the next registry. Propose and sign it now.")


def read_request(path: Path) -> AgencyRequest | BrokerRequest:
    """An enrolment request from a file, of either kind."""
    value = read_json(path)
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == AgencyRequest.KIND:
        return parse(AgencyRequest, path.read_bytes())
    if kind == BrokerRequest.KIND:
        return parse(BrokerRequest, path.read_bytes())
    raise DocumentError(f"{path}: not an enrolment request")


def _root_key(text: str) -> RootKey:
    parts = text.split(":", 2)
    if len(parts) != 3:
        raise OfficeError(f"--root-key {text}: expected PERSON:ORGANISATION:PUBLIC-KEY-FILE")
    person, organisation, file = parts
    return RootKey(PersonId(person), AgencyId(organisation), read_public_key(Path(file)))


def read_public_key(path: Path) -> VerifyKey:
    """A public key from a file that `tallystick officer new-key` wrote."""
    return VerifyKey.from_json(parse_strict(path.read_bytes()))


def _say_draft(draft: Root | Registry, expect: str | None) -> None:
    """What is signed; stops where it is not what the holder has read."""
    found = fingerprint(draft)
    if expect is not None and found.replace(" ", "") != expect.replace(" ", "").lower():
        raise OfficeError(f"what is up for signing has the fingerprint {found}: nothing was signed")
    what = "Root" if isinstance(draft, Root) else "Registry"
    say(f"{what} {draft.version} of {draft.federation}, fingerprint: {found}")


def _say_progress(what: str, progress: SigningProgress) -> None:
    say(f"Signed by {', '.join(progress.signed_by)} of {progress.needed} needed.")
    say(f"The {what} is in force." if progress.in_force else f"The {what} is not in force yet.")
