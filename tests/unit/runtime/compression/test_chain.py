"""Each codec by hand, and what holds of every chain whatever the values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fljob_api.strategy import CompressorSpec
from fljob_runtime.compression.chain import Chain, Key, make
from fljob_runtime.errors import MalformedError
from fljob_runtime.parameters import Float32Array
from fljob_runtime.registry import RegistryError, UnknownNameError

KEY = Key(round=1, attempt=1, trainer="a", shard=0, name="")
CHAINS = (
    ("fp16",),
    ("bf16",),
    ("int8",),
    ("int4",),
    ("topK",),
    ("sketch",),
    ("topK", "int8"),
    ("sketch", "int4"),
    ("topK", "sketch", "bf16"),
)
VECTORS = arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32))


def chain(*names: str, seed: int = 0, **parameters: Any) -> Chain:
    """Return the chain of these codecs; parameters are the first one's."""
    specs = [CompressorSpec(name=name, parameters=parameters if i == 0 else {}) for i, name in enumerate(names)]
    made = make(specs, seed)
    assert made is not None
    return made


def through(codecs: Chain, values: Any, key: Key = KEY) -> Float32Array:
    given_values = np.array(values, np.float32)
    out = np.empty_like(given_values)
    codecs.decode(codecs.encode(given_values, key), out, key)
    return out


# By hand.


def test_none_alone_is_no_compression() -> None:
    assert make([CompressorSpec(name="none")], 0) is None


@given(VECTORS)
def test_none_within_a_chain_changes_no_byte(values: Float32Array) -> None:
    assert chain("none", "int8").encode(values, KEY).tobytes() == chain("int8").encode(values, KEY).tobytes()


def test_half_precision_keeps_eleven_bits_and_stays_finite() -> None:
    assert through(chain("fp16"), [1.0, 1.00048828125, -2.5, 1e9]).tolist() == [1.0, 1.0, -2.5, 65504.0]


def test_bfloat16_keeps_eight_bits_and_stays_finite() -> None:
    largest = np.finfo(np.float32).max
    assert through(chain("bf16"), [1.0, 1.00390625, 1.01171875, -3.0]).tolist() == [1.0, 1.0, 1.015625, -3.0]
    assert np.isfinite(through(chain("bf16"), [largest, -largest])).all()


def test_whole_multiples_of_the_scale_are_quantised_without_error() -> None:
    assert through(chain("int8"), [127.0, -127.0, 3.0, 0.0]).tolist() == [127.0, -127.0, 3.0, 0.0]
    assert through(chain("int4"), [7.0, -7.0, 3.0, 0.0, 1.0]).tolist() == [7.0, -7.0, 3.0, 0.0, 1.0]


def test_int4_puts_two_numbers_in_a_byte_behind_the_scale() -> None:
    data = chain("int4").encode(np.array([7.0, -7.0, 0.0], np.float32), KEY)
    assert data[:4].view(np.float32).tolist() == [1.0]
    assert data[4:].tolist() == [15 | (1 << 4), 8 | (8 << 4)]


def test_stochastic_rounding_is_right_in_the_mean() -> None:
    values = np.full(40_000, 0.3, np.float32)
    values[::64] = 7.0  # makes every block's scale 1
    decoded = through(chain("int4"), values)
    rest = np.delete(decoded, np.arange(0, values.size, 64))
    assert set(np.unique(rest)) == {0.0, 1.0}
    assert abs(rest.mean() - 0.3) < 0.01  # four standard deviations


def test_top_k_sends_the_largest_magnitudes() -> None:
    assert through(chain("topK", fraction="0.4"), [1.0, -5.0, 2.0, 4.0, 0.5]).tolist() == [0.0, -5.0, 0.0, 4.0, 0.0]


def test_a_sketch_with_a_group_for_each_number_is_exact() -> None:
    values = np.arange(50, dtype=np.float32)
    assert through(chain("sketch", fraction="1"), values).tolist() == values.tolist()


# Of any values.


@pytest.mark.parametrize("names", CHAINS)
@given(values=VECTORS)
@settings(max_examples=30)
def test_the_size_follows_from_the_count(names: tuple[str, ...], values: Float32Array) -> None:
    assert chain(*names).encode(values, KEY).size == chain(*names).num_bytes(values.size)


@pytest.mark.parametrize("names", CHAINS)
@given(values=VECTORS)
@settings(max_examples=30)
def test_the_same_update_gives_the_same_bytes(names: tuple[str, ...], values: Float32Array) -> None:
    assert chain(*names).encode(values, KEY).tobytes() == chain(*names).encode(values, KEY).tobytes()


@given(VECTORS)
def test_quantised_values_err_by_less_than_a_scale(values: Float32Array) -> None:
    for name, levels in (("int8", 127), ("int4", 7)):
        error = np.abs(through(chain(name), values) - values)
        for start in range(0, values.size, 64):
            block = slice(start, start + 64)
            assert error[block].max() <= np.abs(values[block]).max() / levels * 1.001 + 1e-30


@given(VECTORS)
def test_halves_err_by_their_last_bit(values: Float32Array) -> None:
    small = values / np.float32(100.0)
    for name, bits in (("fp16", 11), ("bf16", 8)):
        error = np.abs(through(chain(name), small) - small)
        assert (error <= np.abs(small) * 2.0**-bits + 2.0**-25).all()


@given(VECTORS)
def test_what_top_k_sends_and_leaves_is_the_update_bit_for_bit(values: Float32Array) -> None:
    sent = through(chain("topK"), values)
    left = values - sent
    assert np.array_equal(sent + left, values)
    assert not (sent.astype(bool) & left.astype(bool)).any()


@given(VECTORS)
def test_a_sketch_is_an_orthogonal_projection(values: Float32Array) -> None:
    sent = through(chain("sketch", fraction="0.3"), values).astype(np.float64)
    left = values - sent
    whole = float(values.astype(np.float64) @ values)
    assert sent @ sent + left @ left == pytest.approx(whole, rel=1e-5, abs=1e-9)


def test_random_bits_follow_round_client_parameter_and_seed() -> None:
    values = np.linspace(-1.0, 1.0, 500, dtype=np.float32)
    keys = [KEY, Key(2, 1, "a", 0, ""), Key(1, 1, "b", 0, ""), Key(1, 1, "a", 0, "items"), Key(1, 1, "a", 1, "")]
    coded = {chain("int4").encode(values, key).tobytes() for key in keys}
    assert len(coded | {chain("int4", seed=1).encode(values, KEY).tobytes()}) == 6


@pytest.mark.parametrize("names", CHAINS)
@given(data=st.data(), count=st.integers(1, 200))
@settings(max_examples=60)
def test_any_bytes_are_decoded_to_finite_numbers_or_refused(names: tuple[str, ...], data: Any, count: int) -> None:
    size = chain(*names).num_bytes(count)
    noise = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    out = np.empty(count, np.float32)
    try:
        chain(*names).decode(noise, out, KEY)
    except MalformedError:
        return
    assert np.isfinite(out).all()


# What is refused.


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_not_encoded(value: float) -> None:
    with pytest.raises(MalformedError, match=r"lower spec\.optimizer"):
        chain("int8").encode(np.array([1.0, value], np.float32), KEY)


def test_places_twice_are_refused() -> None:
    data = chain("topK", fraction="1").encode(np.ones(3, np.float32), KEY)
    data[:6] = np.array([0, 1, 1], "<u2").view(np.uint8)
    with pytest.raises(MalformedError, match="sorted, unique and below 3"):
        chain("topK", fraction="1").decode(data, np.empty(3, np.float32), KEY)


def test_a_scale_that_is_not_finite_is_refused() -> None:
    data = chain("int8").encode(np.ones(3, np.float32), KEY)
    data[:4] = np.array([np.nan], np.float32).view(np.uint8)
    with pytest.raises(MalformedError, match="scale"):
        chain("int8").decode(data, np.empty(3, np.float32), KEY)


@pytest.mark.parametrize(("name", "at", "byte"), [("int8", 4, 128), ("int4", 4, 0), ("int4", 5, 255)])
def test_codes_that_mean_nothing_are_refused(name: str, at: int, byte: int) -> None:
    data = chain(name).encode(np.ones(3, np.float32), KEY)
    data[at] = byte
    with pytest.raises(MalformedError, match=r"codes? "):
        chain(name).decode(data, np.empty(3, np.float32), KEY)


def test_an_unknown_codec_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'topK'"):
        make([CompressorSpec(name="topk")], 0)


def test_a_parameter_out_of_range_is_named_by_its_path() -> None:
    with pytest.raises(RegistryError, match=r"spec\.strategy\.compression\[0\]\.parameters\.fraction"):
        chain("topK", fraction="2")


def test_nothing_can_stand_behind_a_quantiser() -> None:
    with pytest.raises(RegistryError, match="put it last"):
        chain("int8", "topK")
