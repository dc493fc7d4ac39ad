"""Which split a row belongs to: a stable hash of its identity, the same in every snapshot."""

import hashlib
from collections.abc import Iterable

TRAIN, TEST = "train", "test"


def assign(identities: Iterable[str], test_size: float, salt: str) -> list[str]:
    """`train` or `test` for each identity, about `test_size` of them `test`.

    The first 8 bytes of BLAKE2b of salt and identity are read as a fraction of 1; below
    `test_size` it is a test row. Neither the order nor the other rows matter, so a customer keeps
    the split in every later snapshot, and equal identities land together.
    """
    prefix = hashlib.blake2b(salt.encode(), digest_size=8)
    limit = int(test_size * 2**64).to_bytes(8, "big")  # bytes compare as the numbers do

    def is_test(identity: str) -> bool:
        digest = prefix.copy()
        digest.update(identity.encode())
        return digest.digest() < limit

    return [TEST if is_test(identity) else TRAIN for identity in identities]
