// Elementary functions on registers: one sequence of operations on every instruction set.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// 2^e for e in [-126, 127].
QNT_INLINE ops::f32 power_of_two(ops::i32 e) { return ops::as_f32(ops::shift_left<23>(ops::add_i(e, ops::set1_i(127)))); }

// e^x to 1.03 ulp (measured over all floats; 0.75 of the smallest subnormal below 2^-126), 0 below -103.97, infinity above 88.72, NaN for
// NaN. x = n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, Cody and Waite 1980), then e^r = 1 + (r + r^2 P(r)) with the P of degree 4
// that is minimax for the relative error (Remez; coefficients rounded one by one, the rest refitted; 0.04 ulp), then n into the exponent.
QNT_INLINE ops::f32 exp(ops::f32 x) {
    const ops::f32 magic = ops::set1(0x1.8p23f + 512.0f);  // leaves no bit for a fraction: the low bits of the sum are n + 512
    x = ops::max(ops::set1(-104.0f), ops::min(ops::set1(89.0f), x));
    const ops::f32 shifted = ops::fma(x, ops::set1(0x1.715476p0f), magic), nf = ops::sub(shifted, magic);
    ops::f32 r = ops::fma(nf, ops::set1(-0x1.62e43p-1f), x);
    r = ops::fma(nf, ops::set1(0x1.05c61p-29f), r);
    ops::f32 p = ops::fma(ops::set1(0x1.6ff098p-10f), r, ops::set1(0x1.1257d2p-7f));
    p = ops::fma(p, r, ops::set1(0x1.5552fep-5f));
    p = ops::fma(p, r, ops::set1(0x1.555466p-3f));
    p = ops::fma(p, r, ops::set1(0.5f));
    p = ops::add(ops::fma(p, ops::mul(r, r), r), ops::set1(1.0f));
    // 2^n in two halves: n from -150 to 128 does not fit an exponent. The first product is exact, the second rounds once.
    const ops::i32 biased = ops::and_i(ops::as_i32(shifted), ops::set1_i(1023)), bias = ops::set1_i(-256);
    const ops::i32 half = ops::shift_right<1>(biased), rest = ops::add_i(biased, ops::neg_i(half));
    return ops::mul(ops::mul(p, power_of_two(ops::add_i(half, bias))), power_of_two(ops::add_i(rest, bias)));
}

// GELU in its tanh form (Hendrycks and Gimpel 2016, arXiv:1606.08415): x / 2 * (1 + tanh(u)) = x / (1 + e^(-2 u)),
// u = sqrt(2 / pi) * (x + 0.044715 x^3).
QNT_INLINE ops::f32 gelu_tanh(ops::f32 x) {
    const ops::f32 inner = ops::fma(ops::mul(ops::mul(x, x), x), ops::set1(0.044715f), x);
    const ops::f32 e = exp(ops::mul(inner, ops::set1(-1.5957691216f)));
    return ops::div(x, ops::add(ops::set1(1.0f), e));
}

// The partial sums of a row reduction as one number.
QNT_INLINE float tree_sum(const ops::f32 (&partial)[ops::parts]) {
    float t[16];
    QNT_EACH (p, ops::parts) ops::store(t + p * ops::lanes, partial[p]);
    return qnt::tree_sum(t);
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
