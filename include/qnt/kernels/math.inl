// Elementary functions on registers: one sequence of operations on every instruction set.
namespace qnt::isa::inline QNT_BASELINE::QNT_ISA {

// 2^e for e in [-126, 127].
QNT_INLINE ops::f32 power_of_two(ops::i32 e) { return ops::as_f32(ops::shift_left<23>(ops::add_i(e, ops::set1_i(127)))); }

// e^x to 1.1 ulp for x in [-87.3, 88.7], clamped outside, NaN for NaN. x = n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, Cody and
// Waite), a polynomial of degree 6 for e^r (Taylor, coefficients of degree 5 and 6 refitted for the interval), then n into the exponent.
QNT_INLINE ops::f32 exp(ops::f32 x) {
    x = ops::max(ops::set1(-87.33654f), ops::min(ops::set1(88.72283f), x));
    const ops::i32 n = ops::round_to_i32(ops::mul(x, ops::set1(1.44269504f)));
    const ops::f32 nf = ops::to_f32(n);
    ops::f32 r = ops::fma(nf, ops::set1(-0.693359375f), x);
    r = ops::fma(nf, ops::set1(2.12194440e-4f), r);
    ops::f32 p = ops::fma(ops::set1(1.9875691500e-4f), r, ops::set1(1.3981999507e-3f));
    p = ops::fma(p, r, ops::set1(8.3334519073e-3f));
    p = ops::fma(p, r, ops::set1(4.1665795894e-2f));
    p = ops::fma(p, r, ops::set1(1.6666665459e-1f));
    p = ops::fma(p, r, ops::set1(5.0000001201e-1f));
    p = ops::fma(p, ops::mul(r, r), ops::add(r, ops::set1(1.0f)));
    // 2^n in two halves: n = 128 alone does not fit an exponent
    const ops::i32 half = ops::add_i(ops::shift_right<1>(ops::add_i(n, ops::set1_i(256))), ops::set1_i(-128)), rest = ops::add_i(n, ops::neg_i(half));
    return ops::mul(ops::mul(p, power_of_two(half)), power_of_two(rest));
}

// GELU in its tanh form (Hendrycks and Gimpel 2016, arXiv:1606.08415): x / 2 * (1 + tanh(u)) = x / (1 + e^(-2 u)),
// u = sqrt(2 / pi) * (x + 0.044715 x^3).
QNT_INLINE ops::f32 gelu_tanh(ops::f32 x) {
    const ops::f32 inner = ops::fma(ops::mul(ops::mul(x, x), x), ops::set1(0.044715f), x);
    const ops::f32 e = exp(ops::mul(inner, ops::set1(-1.5957691216f)));
    return ops::div(x, ops::add(ops::set1(1.0f), e));
}

// The 16 partial sums of a row reduction (element i goes to sum i mod 16) as one number: halves added from 8 lanes apart down to 1.
QNT_INLINE float tree_sum(const ops::f32 (&partial)[ops::parts]) {
    float t[16];
    QNT_UNROLL for (int p = 0; p < ops::parts; ++p) ops::store(t + p * ops::lanes, partial[p]);
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) t[i] += t[i + width];
    return t[0];
}

}  // namespace qnt::isa::inline QNT_BASELINE::QNT_ISA
