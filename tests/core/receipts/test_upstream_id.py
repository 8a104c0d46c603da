"""Of an upstream's own id a number is kept; of everything else, its hash at most."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.receipts.upstream_id import kept_id

# Ids as providers make them.
KNOWN = [
    "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "chatcmpl-7f3a9c517f3a9c517f3a9c517f3a9c51",
    "chatcmpl-a1b2c3d4-0000-4abc-8def-0123456789ab",
    "chatcmpl-1",
    "cmpl-7f3a9c517f3a9c51",
    "msg_011CdTWAQmA1D3sNBuwECd55",
    "gen-1759826534-Jm7BgV4u6f0sQq8HtWzC",
    "resp_67ccd2bed1ec8190b14f964abc054267",
    "req_011CSHoEeqs5C35K2UUqR7Fy",
    "7f3a9c517f3a9c517f3a9c517f3a9c51",
    "a1b2c3d4-0000-4abc-8def-0123456789ab",
]
UNKNOWN = [
    "the_patient_has_hiv",
    "chatcmpl-the_patient_has_hiv",
    "chatcmpl-thepatienthascancerofthelung",
    "chatcmpl-ThePatientHasCancerOfTheLung",
    "chatcmpl-simulated-phala-3",
    "msg_canary-7f3a9c51",
    "gen-1759826534-the_patient",
    "chatcmpl-ThePatient7HasCancer",
    "The_Patient_7_has_it",
    "B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "patient:7f3a9c517f3a9c51",
    "7f3a9c51 ",
    "7f3a9c51\n",
    "sha256:" + "a" * 64,
    "a" * 80,
    "f" * 65,
    "chatcmpl-",
    "chatcmpl-deaf",
]


@pytest.mark.parametrize("upstream_id", KNOWN)
@pytest.mark.parametrize("phi", [True, False])
def test_a_number_behind_a_known_prefix_stands(upstream_id: str, phi: bool) -> None:
    assert kept_id(upstream_id, phi=phi) == upstream_id


@pytest.mark.parametrize("upstream_id", UNKNOWN)
def test_of_any_other_id_its_hash_stands_and_under_phi_nothing(upstream_id: str) -> None:
    hashed = "sha256:" + hashlib.sha256(upstream_id.encode()).hexdigest()
    assert kept_id(upstream_id, phi=False) == hashed
    assert kept_id(upstream_id, phi=True) is None


WORDS = st.lists(
    st.sampled_from(["patient", "cancer", "Kanarienvogel", "the", "Has", "7", "1982"]), min_size=2
)


@given(st.sampled_from(["", "chatcmpl-", "msg_", "gen-"]), WORDS, st.sampled_from(["", "_", "-"]))
def test_no_words_are_kept(prefix: str, words: list[str], between: str) -> None:
    words = ["patient", *words]
    kept = kept_id(prefix + between.join(words), phi=False)
    assert kept is not None
    assert kept.startswith("sha256:")
