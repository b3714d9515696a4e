"""Regenerates the committed gRPC code: `uv run python -m protos.generate` (`--check` only compares)."""

from __future__ import annotations

import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def proto_files() -> list[str]:
    """The `.proto` files of this repository, relative to its root."""
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("protos/*/v1/*.proto"))


def generate(out: Path) -> None:
    """Compiles every `.proto` into `out`.

    The repository root is the include root, so that the imports in the generated code need no fixing.
    """
    # A development dependency: only whoever changes a .proto needs the compiler.
    from grpc_tools import protoc

    well_known = str(resources.files("grpc_tools") / "_proto")
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--mypy_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_grpc_out={out}",
        *proto_files(),
    ]
    status = protoc.main(arguments)
    if status != 0:
        raise SystemExit(f"protoc failed with status {status}: see its messages above")


def drift(out: Path) -> list[str]:
    """Names of generated files that differ from what is committed, or are missing, or are left over."""
    fresh = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*_pb2*.py*")}
    held = {str(p.relative_to(ROOT)): p.read_bytes() for p in ROOT.glob("protos/*/v1/*_pb2*.py*")}
    return sorted(name for name in fresh.keys() | held.keys() if fresh.get(name) != held.get(name))


def main() -> None:
    if "--check" not in sys.argv[1:]:
        generate(ROOT)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        changed = drift(Path(folder))
    if changed:
        names = "\n  ".join(changed)
        raise SystemExit(
            f"generated code is stale; run `uv run python -m protos.generate` and commit:\n  {names}"
        )
    print(f"{len(proto_files())} proto files: generated code is up to date")


if __name__ == "__main__":
    main()
