// dense_code<T>: weights kept as f32, f16 or bf16 numbers, in the same containers and kernels as quantized ones.
//   value     the number itself; no scale
//   bytes     little-endian IEEE 754 binary32 / binary16 / bfloat16
//   rounding  to nearest, ties to even, when narrowed; a finite f32 that overflows f16 is an error naming row and column
//   error     0 (f32), 2^-11 relative (f16, normal range), 2^-8 relative (bf16)
//   compute   `exact` only: there is no integer operand
#pragma once
#include "code.hpp"

namespace qnt {

template <scalar T> struct dense_code {
    using storage = T;
    static constexpr const char* name = name_of(scalar_type_of<T>);
    static constexpr int bits = int(sizeof(T) * 8);
};

}  // namespace qnt
