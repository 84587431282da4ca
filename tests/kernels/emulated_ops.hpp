// The vocabulary of isa/scalar/ops.hpp in arrays of any length, as far as integer products use it, and the integer instructions of
// AVX-VNNI, AVX-512 VNNI and AMX in plain loops: their kernels run on every machine. They are calls: inlined they would take minutes to compile.
#pragma once
#include <qnt/matmul.hpp>

namespace qnt::isa::inline QNT_BASELINE {

// How often what was called: says which way a kernel took.
struct emulated_calls {
    std::size_t dots = 0, broadcasts = 0, tiles = 0, bad_shapes = 0;
};
inline emulated_calls calls;

template <int Lanes> struct array_ops {
    static constexpr int lanes = Lanes, parts = 16 / lanes;

    struct f32 {
        float v[lanes];
    };
    struct i32 {
        std::int32_t v[lanes];
    };
    struct bytes {
        std::uint8_t v[4 * lanes];
    };
    template <class R, class F> static R make(const F& f) {
        R r;
        for (int i = 0; i < lanes; ++i) r.v[i] = f(i);
        return r;
    }
    template <class R> static R read(const void* p) {
        R r;
        std::memcpy(&r, p, sizeof r);
        return r;
    }

    static QNT_NOINLINE f32 set1(float a) {
        return make<f32>([&](int) { return a; });
    }
    static QNT_NOINLINE f32 load(const float* p) { return read<f32>(p); }
    static QNT_NOINLINE void store(float* p, f32 a) { std::memcpy(p, a.v, sizeof a.v); }
    static QNT_NOINLINE f32 load_n(const float* p, std::size_t n) {
        return make<f32>([&](int i) { return std::size_t(i) < n ? p[i] : 0.0f; });
    }
    static QNT_NOINLINE void store_n(float* p, f32 a, std::size_t n) { std::memcpy(p, a.v, n * sizeof(float)); }
    static QNT_NOINLINE f32 add(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] + b.v[i]; });
    }
    static QNT_NOINLINE f32 sub(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] - b.v[i]; });
    }
    static QNT_NOINLINE f32 mul(f32 a, f32 b) {
        return make<f32>([&](int i) { return qnt::mul(a.v[i], b.v[i]); });
    }
    static QNT_NOINLINE f32 div(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] / b.v[i]; });
    }
    static QNT_NOINLINE f32 fma(f32 a, f32 b, f32 c) {
        return make<f32>([&](int i) { return qnt::fma(a.v[i], b.v[i], c.v[i]); });
    }
    static QNT_NOINLINE f32 max(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
    }
    static QNT_NOINLINE f32 min(f32 a, f32 b) {
        return make<f32>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
    }
    static QNT_NOINLINE f32 as_f32(i32 a) { return std::bit_cast<f32>(a); }
    static QNT_NOINLINE i32 as_i32(f32 a) { return std::bit_cast<i32>(a); }
    static QNT_NOINLINE f32 to_f32(i32 a) {
        return make<f32>([&](int i) { return float(a.v[i]); });
    }
    static QNT_NOINLINE f32 load_f16(const std::uint16_t* p) {
        return make<f32>([&](int i) { return float(f16::from_bits(p[i])); });
    }
    static QNT_NOINLINE void store_f16(std::uint16_t* p, f32 a) {
        for (int i = 0; i < lanes; ++i) p[i] = f16(a.v[i]).bits;
    }
    static QNT_NOINLINE f32 load_bf16(const std::uint16_t* p) {
        return make<f32>([&](int i) { return float(bf16::from_bits(p[i])); });
    }

    static QNT_NOINLINE i32 set1_i(std::int32_t a) {
        return make<i32>([&](int) { return a; });
    }
    static QNT_NOINLINE i32 add_i(i32 a, i32 b) {
        return make<i32>([&](int i) { return a.v[i] + b.v[i]; });
    }
    static QNT_NOINLINE i32 neg_i(i32 a) {
        return make<i32>([&](int i) { return -a.v[i]; });
    }
    static QNT_NOINLINE i32 and_i(i32 a, i32 b) {
        return make<i32>([&](int i) { return a.v[i] & b.v[i]; });
    }
    template <int N> static QNT_NOINLINE i32 shift_left(i32 a) {
        return make<i32>([&](int i) { return std::int32_t(std::uint32_t(a.v[i]) << N); });
    }
    template <int N> static QNT_NOINLINE i32 shift_right(i32 a) {
        return make<i32>([&](int i) { return std::int32_t(std::uint32_t(a.v[i]) >> N); });
    }
    static QNT_NOINLINE i32 mul_add(i32 acc, i32 a, i32 b) {
        return make<i32>([&](int i) { return acc.v[i] + a.v[i] * b.v[i]; });
    }
    static QNT_NOINLINE i32 load_u8(const std::uint8_t* p) {
        return make<i32>([&](int i) { return std::int32_t(p[i]); });
    }

    static QNT_NOINLINE bytes load_bytes(const std::uint8_t* p) { return read<bytes>(p); }
    static QNT_NOINLINE void store_bytes(std::uint8_t* p, bytes b) { std::memcpy(p, b.v, sizeof b.v); }
    static QNT_NOINLINE bytes broadcast4(const std::int8_t* x) {
        ++calls.broadcasts;
        bytes b;
        for (int i = 0; i < lanes; ++i) std::memcpy(b.v + 4 * i, x, 4);
        return b;
    }
    template <class F> static bytes each_byte(bytes b, const F& f) {
        for (auto& v : b.v) v = std::uint8_t(f(v));
        return b;
    }
    static QNT_NOINLINE bytes low(bytes raw) {
        return each_byte(raw, [](int b) { return b & 15; });
    }
    static QNT_NOINLINE bytes high(bytes raw) {
        return each_byte(raw, [](int b) { return b >> 4; });
    }
};

// vpdpbusd: sums of four products of unsigned by signed bytes.
template <int Lanes> struct vnni_ops : array_ops<Lanes> {
    using base = array_ops<Lanes>;
    using typename base::bytes, typename base::i32;
    static constexpr bool expands_codes = true;
    static constexpr int block_panels = 1, bias = 128;
    using tiles = void;

    static QNT_NOINLINE i32 add_products(i32 acc, bytes w, bytes x) {
        return base::template make<i32>([&](int i) {
            std::int32_t sum = acc.v[i];
            for (int t = 4 * i; t < 4 * i + 4; ++t) sum += w.v[t] * std::int8_t(x.v[t]);
            return sum;
        });
    }
    using prepared = bytes;
    static QNT_NOINLINE bytes operands(bytes w) {
        return base::each_byte(w, [](int b) { return b ^ 128; });
    }
    static QNT_NOINLINE prepared prepare(bytes operands) { return operands; }
    static QNT_NOINLINE i32 dot(i32 acc, prepared w, bytes x) {
        ++calls.dots;
        return add_products(acc, w, x);
    }
    struct codebook {
        std::uint8_t operands[16];
    };
    static QNT_NOINLINE codebook make_codebook(const std::int8_t* values) {
        codebook book;
        for (int i = 0; i < 16; ++i) book.operands[i] = std::uint8_t(values[i] + bias);
        return book;
    }
    static QNT_NOINLINE bytes lookup(const codebook& book, bytes nibbles) {
        return base::each_byte(nibbles, [&](int b) { return book.operands[b]; });
    }
    struct nibble_acc {       // calls: inlined into the loops of a tile, clang 14 at -O2 makes wrong sums of them
        i32 in_low, in_high;  // in_high: times 16
        QNT_NOINLINE void start(i32 seed) {
            in_low = seed;
            in_high = base::set1_i(0);
        }
        QNT_NOINLINE void add(bytes raw, bytes x_low, bytes x_high) {
            calls.dots += 2;
            in_low = add_products(in_low, base::low(raw), x_low);
            in_high = add_products(in_high, base::each_byte(raw, [](int b) { return b & 0xf0; }), x_high);
        }
        void fold() {}
        QNT_NOINLINE i32 total() const {
            return base::template make<i32>([&](int i) { return in_low.v[i] + (in_high.v[i] >> 4); });
        }
    };
};

// tdpbssd, tdpbsud and their tiles: copies, as registers are.
class array_tiles {
public:
    void shape(std::size_t lines) {
        calls.bad_shapes += lines < 1 || lines > 32;
        lines_ = lines < 32 ? lines : 32;
    }
    void operands(const std::uint8_t* lines) { std::memcpy(operands_, lines, lines_ * 64); }
    template <bool, bool Signed> void multiply(std::int32_t* sums, const std::int8_t* x, std::size_t stride) {
        ++calls.tiles;
        for (std::size_t row = 0; row < 16; ++row)
            for (std::size_t column = 0; column < 16; ++column) {
                std::int32_t& sum = sums[row * 16 + column] = 0;
                for (std::size_t k = 0; k < 4 * lines_; ++k) {
                    const std::uint8_t operand = operands_[k / 4 * 64 + column * 4 + k % 4];
                    sum += x[row * stride + k] * (Signed ? int(std::int8_t(operand)) : int(operand));
                }
            }
    }

private:
    std::size_t lines_ = 0;
    std::uint8_t operands_[32 * 64];
};

namespace emulated_avxvnni {
struct ops : vnni_ops<8> {
    static constexpr int int_rows = 2, block_rows = 6, chains = 12;
};
}  // namespace emulated_avxvnni
namespace emulated_avx512vnni {
struct ops : vnni_ops<16> {
    static constexpr int int_rows = 8, block_rows = 4, block_panels = 3, chains = 16;
};
}  // namespace emulated_avx512vnni
namespace emulated_amx {
struct ops : emulated_avx512vnni::ops {
    using tiles = array_tiles;
};
}  // namespace emulated_amx

}  // namespace qnt::isa::inline QNT_BASELINE

// The bodies in the order of table.hpp.
// clang-format off
#define QNT_UNROLL
#define QNT_ISA emulated_avxvnni
#include <qnt/kernels/math.inl>
#include <qnt/kernels/tile.inl>
#include <qnt/kernels/int8_gemm.inl>
#undef QNT_ISA
#define QNT_ISA emulated_avx512vnni
#include <qnt/kernels/math.inl>
#include <qnt/kernels/tile.inl>
#include <qnt/kernels/int8_gemm.inl>
#undef QNT_ISA
#define QNT_ISA emulated_amx
#define QNT_ISA_OF_FEW_ROWS emulated_avx512vnni
#include <qnt/kernels/math.inl>
#include <qnt/kernels/tile.inl>
#include <qnt/kernels/int8_gemm.inl>
#undef QNT_ISA_OF_FEW_ROWS
#undef QNT_ISA
#undef QNT_UNROLL
// clang-format on
