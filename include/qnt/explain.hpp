// What a product will do, before it does it: explain(shape, format).
#pragma once
#include <string>

#include "any_format.hpp"

namespace qnt {

struct explanation {
    std::string kernel;            // by grammar: (gemv|gemm).(int8act|exact).<format>[.i8table].<isa>
    compute_mode mode;             // what `automatic` came to
    std::string substitution;      // why it is not int8_activations, empty when it is
    std::size_t weight_bytes = 0;  // read from memory, once for every block of x that fits the cache
    std::size_t input_bytes = 0;   // of x as the kernel reads it: int8 codes and factors, or f32
    std::size_t output_bytes = 0;  // of y, f32
    double multiply_adds = 0;
    double intensity = 0;  // multiply-adds per byte of weights: below about 8 for int8 the memory is the bound, above the arithmetic
};

inline namespace QNT_BASELINE {

inline std::string kernel_id(const any_format& f, compute_mode mode, std::size_t m, isa::id isa = isa::active()) {
    std::string id = std::string(m == 1 ? "gemv." : "gemm.") + (mode == exact ? "exact." : "int8act.");
    for (const char c : f.name()) id += c == ':' ? '_' : c;
    if (mode != exact && !f.info.exact_operands) id += ".i8table";
    return id + "." + isa::name(isa);
}

// y[m, rows] = x[m, cols] * w[rows, cols]^T. Errors: unsupported when the format has no such mode.
inline result<explanation> explain(std::size_t m, std::size_t rows, std::size_t cols, const any_format& f, compute_mode mode = automatic) {
    if (mode == int8_activations && f.info.is_dense())
        return error{errc::unsupported, f.name() + " weights have no int8_activations mode; use exact or automatic"};
    explanation e;
    e.mode = mode != automatic ? mode : f.info.is_dense() ? exact : int8_activations;
    if (mode == automatic && e.mode == exact) e.substitution = f.name() + " has no integer operands";
    e.kernel = kernel_id(f, e.mode, m);
    const packed_shape s = f.shape(rows, cols);
    e.weight_bytes = streamed_bytes(f.info, s);
    e.input_bytes = e.mode == exact ? m * cols * sizeof(float) : m * (cols + segmentation{cols, f.group}.count() * 2 * sizeof(float));
    e.output_bytes = m * rows * sizeof(float);
    e.multiply_adds = double(m) * double(rows) * double(cols);
    e.intensity = e.weight_bytes ? e.multiply_adds / double(e.weight_bytes) : 0;
    return e;
}

}  // namespace QNT_BASELINE
}  // namespace qnt
