// Callers with another rounding mode or without denormals get the same bits, and their own mode back.
#include <qnt/any_format.hpp>
#include <qnt/core/fp_env.hpp>

#include <cmath>
#include <cstring>

#include "support.hpp"

#if defined(__x86_64__) || defined(__aarch64__)
namespace {

using qnt::matrix_view;
namespace layout = qnt::layout;

#if defined(__x86_64__)
using control = std::uint32_t;
control read_control() {
    control v;
    asm volatile("stmxcsr %0" : "=m"(v));
    return v;
}
void write_control(control v) { asm volatile("ldmxcsr %0" : : "m"(v) : "memory"); }
constexpr control mode_bits = 0xe040, flag_bits = 0x3f;  // FTZ, rounding, DAZ; the sticky exception flags change with every operation
constexpr control modes[] = {0x8040, 0x2000, 0x4000, 0x6000, 0xc040, 0xe040};  // flush; down; up; to zero; up and flush; to zero and flush
#else
using control = std::uint64_t;
control read_control() {
    control v;
    asm volatile("mrs %0, fpcr" : "=r"(v));
    return v;
}
void write_control(control v) { asm volatile("msr fpcr, %0" : : "r"(v) : "memory"); }
constexpr control mode_bits = 0x1c80000, flag_bits = 0;
constexpr control modes[] = {0x1000000, 0x800000, 0x400000, 0xc00000, 0x1400000, 0x1c00000};
#endif

// The mode of this thread until the end of the scope.
class with_mode {
public:
    explicit with_mode(control mode) : saved_(read_control()) { write_control((saved_ & ~mode_bits & ~flag_bits) | mode); }
    ~with_mode() { write_control(saved_); }
    with_mode(const with_mode&) = delete;

private:
    control saved_;
};

// Does arithmetic here follow the mode? Else these tests would prove nothing.
float opaque(float x) {
    volatile float v = x;
    return v;
}

// Everything the library computes from these weights, as bits.
struct results {
    std::vector<std::byte> bytes;
    void add(const void* p, std::size_t n) {
        const auto* b = static_cast<const std::byte*>(p);
        bytes.insert(bytes.end(), b, b + n);
    }
    void add(std::span<const std::byte> s) { add(s.data(), s.size()); }
    void add(const qnt::error_stats& s) {
        for (const double v : {s.mse, s.relative_frobenius, s.sqnr_db, s.cosine, s.worst.sqnr_db}) add(&v, sizeof v);
        add(&s.max_abs.error, sizeof s.max_abs.error);
    }
};

constexpr std::size_t n = 37, k = 150;

// Quotients and products that round, scales and weights that are denormal.
std::vector<float> weights() {
    auto w = test::random_floats(n * k, 11);
    for (std::size_t i = 0; i < w.size(); ++i)
        if (i / k % 3 == 1) w[i] *= 1e-38f;
    return w;
}

struct checker {
    control before = 0;
    bool good = true;
    // Runs one call of the library and looks whether the caller's mode is still there.
    template <class F> void operator()(F&& f) {
        const control mode = read_control() & ~flag_bits;
        f();
        good = good && (read_control() & ~flag_bits) == mode;
    }
};

template <class F> results run_typed(const std::vector<float>& w, const std::vector<float>& x, checker& check) {
    results all;
    const matrix_view<const float> view{w.data(), n, k};
    qnt::packed_matrix<F> panels;
    qnt::packed_matrix<F, layout::rows> rows;
    qnt::quantization_report report;
    check([&] { panels = qnt::quantize<F>(view, {.report = &report}).value(); });
    check([&] { rows = qnt::quantize<F, layout::rows>(view).value(); });
    all.add(panels.bytes());
    all.add(rows.bytes());
    all.add(report);
    check([&] { all.add(qnt::compare(view, panels, qnt::automatic)); });
    check([&] { all.add(qnt::repack<layout::panels>(rows).value().bytes()); });
    std::vector<float> out(n * k), row(k), y(n);
    check([&] { qnt::dequantize(matrix_view<float>{out.data(), n, k}, rows); });
    all.add(out.data(), out.size() * 4);
    check([&] { qnt::dequantize_row(row, panels, n - 3); });
    all.add(row.data(), row.size() * 4);
    for (const auto mode : {qnt::exact, qnt::automatic}) {
        check([&] { qnt::gemv(y, x, panels, {.mode = mode}); });
        all.add(y.data(), y.size() * 4);
    }
    return all;
}

}  // namespace

TEST_CASE("fp_env sets the default mode for a scope and restores the caller's") {
    const control at_start = read_control() & mode_bits;
    for (const control mode : modes) {
        CAPTURE(mode);
        control inside = 1, nested = 1, after = 0;
        {
            const with_mode caller(mode);
            {
                const qnt::fp_env env;
                inside = read_control() & mode_bits;
                {
                    const qnt::fp_env again;
                    nested = read_control() & mode_bits;
                }
                write_control(read_control());
            }
            after = read_control() & mode_bits;
        }
        CHECK(inside == 0);
        CHECK(nested == 0);
        CHECK(after == mode);
    }
    CHECK((read_control() & mode_bits) == at_start);
}

TEST_CASE("fp_env leaves everything else of the caller's control register alone") {
#if defined(__x86_64__)
    const control saved = read_control();
    const control own = 0x1f80 & ~0x80u;  // invalid operations trap
    write_control(own | 0x4000);
    control inside, after;
    {
        const qnt::fp_env env;
        inside = read_control();
    }
    after = read_control();
    write_control(saved);
    CHECK(inside == own);
    CHECK(after == (own | 0x4000));
#else
    SUCCEED("no exception masks that matter here");
#endif
}

TEST_CASE("the modes of this test do change plain arithmetic") {
    const float third = 1.0f / opaque(3.0f), tiny = opaque(1e-38f) * opaque(0.1f);
    std::size_t rounds = 0, flushes = 0;
    for (const control mode : modes) {
        const with_mode caller(mode);
        rounds += opaque(1.0f) / opaque(3.0f) != third || opaque(-1.0f) / opaque(3.0f) != -third || opaque(2.0f) / opaque(-3.0f) != -2 * third;
        volatile float product = opaque(1e-38f) * opaque(0.1f);
        std::uint32_t bits;
        const float copy = product;
        std::memcpy(&bits, &copy, 4);
        flushes += bits == 0;
    }
    CHECK(tiny > 0);
    CHECK(rounds >= 4);
    CHECK(flushes >= 2);
}

TEMPLATE_TEST_CASE("results do not depend on the caller's mode, and the mode survives", "", qnt::int8, qnt::int8_channel, qnt::q8_0,
                   (qnt::int4<32, float>), qnt::uint4<64>, qnt::nf4<64>, qnt::nf4_dq<16>, qnt::dense_format<qnt::f16>) {
    const auto w = weights(), x = test::random_floats(k, 12);
    checker check;
    const results expected = run_typed<TestType>(w, x, check);
    for (const control mode : modes) {
        results actual;
        {
            const with_mode caller(mode);
            actual = run_typed<TestType>(w, x, check);
        }
        CAPTURE(mode);
        CHECK(actual.bytes.size() == expected.bytes.size());
        CHECK(std::memcmp(actual.bytes.data(), expected.bytes.data(), expected.bytes.size()) == 0);
    }
    CHECK(check.good);
}

TEST_CASE("compatibility rules do not depend on the caller's mode either") {
    const auto w = test::random_floats(64 * 128, 13);
    const matrix_view<const float> view{w.data(), 64, 128};
    const auto run = [&] {
        results all;
        all.add(qnt::quantize<qnt::nf4_dq<32>, layout::rows>(view, {.compat = qnt::compatibility::bitsandbytes}).value().bytes());
        all.add(qnt::quantize<qnt::int8_channel>(view, {.compat = qnt::compatibility::bitsandbytes}).value().bytes());
        all.add(qnt::quantize<qnt::q8_0>(view, {.compat = qnt::compatibility::ggml}).value().bytes());
        return all;
    };
    const results expected = run();
    for (const control mode : modes) {
        results actual;
        {
            const with_mode caller(mode);
            actual = run();
        }
        CAPTURE(mode);
        CHECK(actual.bytes == expected.bytes);
    }
}
#else
TEST_CASE("fp_env") { WARN("skipped: the control register of this processor is not known"); }
#endif
