"""The digest of tensor bytes."""

from __future__ import annotations

import numpy as np

from fljob_runtime.server.digest import Digest, digest_of


def test_equal_bytes_have_equal_digests() -> None:
    assert digest_of([np.arange(5.0)]) == digest_of([np.arange(5.0)])


def test_one_changed_byte_changes_the_digest() -> None:
    data = np.zeros(3 << 20, np.uint8)
    before = digest_of([data])
    data[-1] = 1
    assert digest_of([data]) != before


def test_two_arrays_are_not_their_concatenation() -> None:
    assert digest_of([np.zeros(2), np.zeros(2)]) != digest_of([np.zeros(4)])


def test_a_chain_depends_on_what_was_before() -> None:
    assert digest_of([np.zeros(2)], previous="a") != digest_of([np.zeros(2)], previous="b")


def test_a_strided_view_has_the_digest_of_its_copy() -> None:
    view = np.arange(10.0)[::2]
    assert digest_of([view]) == digest_of([view.copy()])


def test_the_digest_does_not_depend_on_how_an_array_is_cut() -> None:
    data = np.arange(100, dtype=np.uint8)
    digest = Digest()
    for piece in (data[:3], data[3:90], data[90:]):
        digest.update(piece.data)
    digest.end_array()
    assert digest.hexdigest() == digest_of([data])
