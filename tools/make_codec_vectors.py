#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/vectors/*.bin, the number formats as numpy and ml_dtypes understand them.

    python3 -m pip install numpy ml_dtypes
    tools/make_codec_vectors.py [--output tests/vectors] [--check]

All files are little-endian arrays without a header; tests/vectors/README.md describes them. The output is
deterministic: --check compares it with the files that are there and writes nothing.

Two things are adjusted to Railyard's definitions, here and nowhere else:

* A NaN that is written is canonical: 0x7FFF in bf16 and fp16, 0x7FFFFFFF in fp32, 0x7F in E4M3.
* ml_dtypes converts to float8_e4m3fn without saturation: what rounds beyond 448 (above 464, and infinity) becomes NaN.
  Railyard saturates. Inputs are therefore clipped to [-448, 448] before ml_dtypes converts them. Rounding is monotone
  and 448 is representable, so clipping changes no result of magnitude at most 464; `e4m3_from_fp32` asserts that.
"""

import argparse
import pathlib
import sys

import ml_dtypes
import numpy as np

E4M3 = ml_dtypes.float8_e4m3fn
BF16 = ml_dtypes.bfloat16
UE8M0 = ml_dtypes.float8_e8m0fnu
BLOCK = 128


def canonical_fp32(values):
    out = values.astype(np.float32).view(np.uint32).copy()
    out[np.isnan(values)] = 0x7FFFFFFF
    return out


def bf16_from_fp32(values):
    out = values.astype(BF16).view(np.uint16).copy()
    out[np.isnan(values)] = 0x7FFF
    return out


def fp16_from_fp32(values):
    with np.errstate(over="ignore"):
        out = values.astype(np.float16).view(np.uint16).copy()
    out[np.isnan(values)] = 0x7FFF
    return out


def e4m3_from_fp32(values):
    saturated = np.clip(values, np.float32(-448), np.float32(448)).astype(E4M3).view(np.uint8).copy()
    plain = values.astype(E4M3).view(np.uint8)
    in_range = np.abs(values) <= 464  # false for NaN
    assert np.array_equal(saturated[in_range], plain[in_range])
    saturated[np.isnan(values)] = 0x7F
    return saturated


def fp32_cases():
    """Bit patterns at and around every place where a rounding to bf16, fp16 or E4M3 changes, then random ones."""
    bits = []
    for codes in (np.arange(0x7C00, dtype=np.uint16)[:: 0x3F].view(np.float16).astype(np.float32),
                  np.arange(0x7F80, dtype=np.uint16)[:: 0x41].view(BF16).astype(np.float32),
                  np.arange(0x7F, dtype=np.uint8).view(E4M3).astype(np.float32)):
        bits.append(codes.view(np.uint32))
    # Halfway points to the next code of each format: exact ties, also in the denormals.
    halfs = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    tie16 = ((halfs[:-1] + halfs[1:]) / 2).astype(np.float32)
    bits.append(np.concatenate([tie16[:64], tie16[960:1090], tie16[:: 0x35], tie16[-8:]]).view(np.uint32))
    eights = np.arange(0x7F, dtype=np.uint8).view(E4M3).astype(np.float64)
    bits.append(((eights[:-1] + eights[1:]) / 2).astype(np.float32).view(np.uint32))
    bits.append((np.arange(0x7F80, dtype=np.uint32)[:: 0x3B] << 16) | 0x8000)
    named = np.array([0, 2.0**-149, 2.0**-126, 2.0**-127, 2.0**-25, 2.0**-24, 2.0**-14, 2.0**-10, 2.0**-9, 2.0**-6,
                      448, 456, 464, 480, 65504, 65519.996, 65520, 65536, 3.3895314e38, 3.3961775e38, 3.4028235e38,
                      np.inf], dtype=np.float32).view(np.uint32)
    bits.append(named)
    bits = np.concatenate(bits)
    finite = bits < 0x7F800000
    neighbours = [bits, bits[finite] + 1, np.maximum(bits[finite], 1) - 1]
    random = np.random.default_rng(20251122).integers(0, 2**32, 4096, dtype=np.uint64).astype(np.uint32)
    nan = np.array([0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0x7FBFFFFF, 0x7F80FFFF], dtype=np.uint32)
    positive = np.unique(np.concatenate([*neighbours, nan]))
    return np.concatenate([positive, positive | np.uint32(0x80000000), random])


def block_cases():
    """[blocks, 128] bf16 inputs: many magnitudes, denormals, zeros, NaN, infinities."""
    rng = np.random.default_rng(7168)
    exponents = np.concatenate([np.arange(-30, 31, 4), [-133, -120, -60, 60, 100, 120]])
    blocks = [np.ldexp(rng.standard_normal(BLOCK), int(e)) for e in exponents]
    blocks.append(np.zeros(BLOCK))
    blocks.append(np.full(BLOCK, 1e-4))
    blocks.append(np.full(BLOCK, 448.0))
    blocks.append(np.full(BLOCK, np.nan))
    powers = np.ldexp(448.0, rng.integers(-20, 20, BLOCK))
    blocks.extend(np.where(np.arange(BLOCK) == 5, p, p / 512 * rng.random(BLOCK)) for p in powers[:8])
    for special in ([np.nan], [np.inf], [-np.inf], [np.nan, np.inf, -np.inf]):
        block = rng.standard_normal(BLOCK) * 3
        block[rng.choice(BLOCK, len(special), replace=False)] = special
        blocks.append(block)
    return np.stack(blocks).astype(np.float32).astype(BF16)


def quantised_blocks(blocks):
    """(scales fp32, codes), (scales UE8M0, codes): the formulas of src/codecs/fp8_e4m3*.hpp in fp32."""
    x = blocks.astype(np.float32)
    magnitude = np.abs(x)
    magnitude[np.isnan(x)] = 0
    amax = np.maximum(np.float32(1e-4), magnitude.max(axis=1))
    with np.errstate(all="ignore"):
        scale = amax * (np.float32(1) / np.float32(448))
        codes = e4m3_from_fp32(x * (np.float32(448) / amax)[:, None])
        # frexp: scale = mantissa * 2^exponent with mantissa in [0.5, 1).
        mantissa, exponent = np.frexp(scale)
        exponent = np.where(np.isinf(scale), 127, np.where(mantissa == 0.5, exponent - 1, exponent))
        power_codes = e4m3_from_fp32(np.ldexp(x, -exponent[:, None]).astype(np.float32))
    return scale, codes, (exponent + 127).astype(np.uint8), power_codes


def vectors():
    all8 = np.arange(256, dtype=np.uint8)
    all16 = np.arange(65536, dtype=np.uint32).astype(np.uint16)
    cases = fp32_cases()
    with np.errstate(all="ignore"):
        values = cases.view(np.float32)
        blocks = block_cases()
        scale, codes, power_scale, power_codes = quantised_blocks(blocks)
        return {
            "e4m3_to_fp32.bin": canonical_fp32(all8.view(E4M3).astype(np.float32)),
            "ue8m0_to_fp32.bin": canonical_fp32(all8.view(UE8M0).astype(np.float32)),
            "bf16_to_e4m3.bin": e4m3_from_fp32(all16.view(BF16).astype(np.float32)),
            "fp16_to_fp32.bin": canonical_fp32(all16.view(np.float16).astype(np.float32)),
            "fp32_cases.bin": cases,
            "fp32_cases_to_bf16.bin": bf16_from_fp32(values),
            "fp32_cases_to_fp16.bin": fp16_from_fp32(values),
            "fp32_cases_to_e4m3.bin": e4m3_from_fp32(values),
            "blocks_bf16.bin": blocks.view(np.uint16),
            "blocks_fp8_e4m3_scales.bin": scale,
            "blocks_fp8_e4m3_codes.bin": codes,
            "blocks_fp8_e4m3_ue8m0_scales.bin": power_scale,
            "blocks_fp8_e4m3_ue8m0_codes.bin": power_codes,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--output", type=pathlib.Path, default=root / "tests" / "vectors")
    parser.add_argument("--check", action="store_true", help="compare with the files there; write nothing")
    arguments = parser.parse_args()
    assert sys.byteorder == "little"
    different = []
    for name, array in vectors().items():
        path = arguments.output / name
        data = np.ascontiguousarray(array).tobytes()
        if not arguments.check:
            path.write_bytes(data)
            print(f"{name}: {len(data)} bytes")
        elif not path.exists() or path.read_bytes() != data:
            different.append(name)
    if arguments.check:
        print(f"different: {', '.join(different)}" if different else "all files equal")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
