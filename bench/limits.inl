// What an instruction set can do at most, from registers and from memory: the limits beside which kernels are judged.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// The value leaves the loop's sight, so that the work is neither moved out of it nor dropped. ("m" would be a store.)
template <class T> QNT_INLINE void keep(T& value) {
    if constexpr (std::is_class_v<T>) asm volatile("" : "+m"(value));
#if defined(__x86_64__)
    else asm volatile("" : "+v"(value));
#else
    else asm volatile("" : "+w"(value));
#endif
}

// Reads n floats, a multiple of 8 registers, in one linear stream.
QNT_NOINLINE inline void read_limit(const float* p, std::size_t n) noexcept {
    ops::i32 sum[8];
    QNT_EACH (j, 8) sum[j] = ops::set1_i(0);
    for (std::size_t i = 0; i + 8 * std::size_t(ops::lanes) <= n; i += 8 * std::size_t(ops::lanes))
        QNT_EACH (j, 8) sum[j] = ops::add_i(sum[j], ops::as_i32(ops::load(p + i + std::size_t(j * ops::lanes))));
    QNT_EACH (j, 8) keep(sum[j]);
}

// `loops` times 12 independent integer dot products, all in registers; returns the multiplications and additions made.
QNT_NOINLINE inline double dot_limit(std::size_t loops) noexcept {
    ops::i32 acc[12];
    alignas(64) std::uint8_t bytes[64];
    for (int i = 0; i < 64; ++i) bytes[i] = std::uint8_t(i);
    auto w = ops::prepare(ops::operands(ops::load_bytes(bytes)));
    ops::bytes x = ops::broadcast4(reinterpret_cast<const std::int8_t*>(bytes));
    QNT_EACH (j, 12) {
        acc[j] = ops::set1_i(0);
        keep(acc[j]);
    }
    for (std::size_t i = 0; i < loops; ++i) {
        QNT_EACH (j, 12) {
            keep(x);  // the sign of a row of x is taken for every product
            acc[j] = ops::dot(acc[j], w, x);
        }
    }
    QNT_EACH (j, 12) keep(acc[j]);
    return double(loops) * 12 * ops::lanes * 4 * 2;
}

QNT_NOINLINE inline double fma_limit(std::size_t loops) noexcept {
    ops::f32 acc[12], a = ops::set1(1.0f), b = ops::set1(0.5f);
    QNT_EACH (j, 12) {
        acc[j] = ops::set1(0);
        keep(acc[j]);  // else all twelve are the same, and a compiler sees it
    }
    for (std::size_t i = 0; i < loops; ++i) {
        QNT_EACH (j, 12) acc[j] = ops::fma(a, b, acc[j]);
        keep(a);
        keep(b);
    }
    QNT_EACH (j, 12) keep(acc[j]);
    return double(loops) * 12 * ops::lanes * 2;
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
