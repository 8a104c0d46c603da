"""`python authorities.py BUNDLE FOLDER`: a bundle's certificates, each in a file that OpenSSL finds
by the hash of its subject. A process then reads the one or two that it needs: reading a bundle
through takes 16 ms of a cold start, for each TLS context anew.

https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_CERTIFICATE = re.compile(_BEGIN + rb"\r?\n[^-]+-----END CERTIFICATE-----")


def lay_out(bundle: bytes, folder: Path) -> int:
    """Write the files; how many there are. Raises ValueError where one would be left out."""
    found = _CERTIFICATE.findall(bundle)
    if len(found) != bundle.count(_BEGIN):
        raise ValueError("a certificate of the bundle cannot be told from the next")
    folder.mkdir(parents=True)
    same: Counter[str] = Counter()
    for certificate in found:
        name = subject_hash(certificate)
        (folder / f"{name}.{same[name]}").write_bytes(certificate + b"\n")
        same[name] += 1
    return same.total()


def subject_hash(certificate: bytes) -> str:
    """As OpenSSL names the files that it looks for. Raises CalledProcessError."""
    command = ("openssl", "x509", "-noout", "-subject_hash")
    ran = subprocess.run(command, input=certificate, stdout=subprocess.PIPE, check=True)
    return ran.stdout.decode().strip()


if __name__ == "__main__":
    if not lay_out(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])):
        sys.exit("the bundle holds no certificate")
