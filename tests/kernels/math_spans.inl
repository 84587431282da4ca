// Elementary functions over spans, for tests. n is a multiple of 16.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

QNT_NOINLINE inline void exp_span(float* y, const float* x, std::size_t n) noexcept {
    for (std::size_t i = 0; i < n; i += std::size_t(ops::lanes)) ops::store(y + i, exp(ops::load(x + i)));
}

QNT_NOINLINE inline float tree_sum_of(const float* x) noexcept {
    ops::f32 partial[ops::parts];
    for (int part = 0; part < ops::parts; ++part) partial[part] = ops::load(x + part * ops::lanes);
    return tree_sum(partial);
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
