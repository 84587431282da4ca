#include <qnt/explain.hpp>

#include "support.hpp"

namespace {

using qnt::any_format;
using qnt::compute_mode;

any_format parse(const char* text) { return any_format::parse(text).value(); }
std::string active() { return qnt::isa::name(qnt::isa::active()); }

}  // namespace

TEST_CASE("kernel ids follow the grammar") {
    const std::string isa = "." + active();
    CHECK(qnt::kernel_id(parse("int8_channel"), qnt::int8_activations, 1) == "gemv.int8act.int8_channel" + isa);
    CHECK(qnt::kernel_id(parse("int4:32"), qnt::int8_activations, 2) == "gemm.int8act.int4_32" + isa);
    CHECK(qnt::kernel_id(parse("int4:32:f32"), qnt::exact, 64) == "gemm.exact.int4_32_f32" + isa);
    CHECK(qnt::kernel_id(parse("nf4:64"), qnt::int8_activations, 1) == "gemv.int8act.nf4_64.i8table" + isa);  // rounded operands are named
    CHECK(qnt::kernel_id(parse("nf4:64"), qnt::exact, 1) == "gemv.exact.nf4_64" + isa);
    CHECK(qnt::kernel_id(parse("uint4:64"), qnt::int8_activations, 1) == "gemv.int8act.uint4_64" + isa);
    CHECK(qnt::kernel_id(parse("f16"), qnt::exact, 3) == "gemm.exact.f16" + isa);
    test::on_every_isa([](qnt::isa::id id) {
        CHECK(qnt::kernel_id(parse("int8"), qnt::int8_activations, 1) == std::string("gemv.int8act.int8.") + qnt::isa::name(id));
    });
}

TEST_CASE("explain says what a product will do") {
    SECTION("int8_activations is the default of quantized weights") {
        const qnt::explanation e = qnt::explain(4, 3072, 768, parse("nf4:64")).value();
        CHECK(e.mode == qnt::int8_activations);
        CHECK(e.substitution.empty());
        CHECK(e.kernel == "gemm.int8act.nf4_64.i8table." + active());
        CHECK(e.weight_bytes == 3072u * 768 * 9 / 16);  // 4.5 bits
        // x: a byte for each of 768, and per segment of 64 a factor and a sum
        CHECK(e.input_bytes == 4 * (768 + 12 * 8));
        CHECK(e.output_bytes == 4 * 3072 * 4);
        CHECK(e.multiply_adds == 4.0 * 3072 * 768);
        CHECK(e.intensity == Approx(4.0 * 16 / 9));
    }
    SECTION("one scale spans K: segments of 128") {
        const qnt::explanation e = qnt::explain(1, 17, 300, parse("int8_channel")).value();
        CHECK(e.kernel == "gemv.int8act.int8_channel." + active());
        CHECK(e.weight_bytes == 2 * (75 * 64 + 64));  // two panels, the second nearly empty
        CHECK(e.input_bytes == 300 + 3 * 8);
        CHECK(e.output_bytes == 68);
    }
    SECTION("exact on demand") {
        const qnt::explanation e = qnt::explain(2, 16, 64, parse("int4:32"), qnt::exact).value();
        CHECK(e.mode == qnt::exact);
        CHECK(e.substitution.empty());
        CHECK(e.kernel == "gemm.exact.int4_32." + active());
        CHECK(e.input_bytes == 2 * 64 * 4);
    }
    SECTION("dense weights are exact, which is said") {
        const qnt::explanation e = qnt::explain(1, 16, 64, parse("bf16")).value();
        CHECK(e.mode == qnt::exact);
        CHECK(e.substitution.find("bf16") != std::string::npos);
        CHECK(e.kernel == "gemv.exact.bf16." + active());
        CHECK(e.weight_bytes == 16 * 64 * 2);
        CHECK(qnt::explain(1, 16, 64, parse("bf16"), qnt::exact).value().substitution.empty());  // as asked
    }
    SECTION("what cannot be done is an error that names the alternative") {
        const auto e = qnt::explain(1, 16, 64, parse("f32"), qnt::int8_activations);
        REQUIRE_FALSE(e.has_value());
        CHECK(e.error().code == qnt::errc::unsupported);
        CHECK(e.error().message.find("use exact or automatic") != std::string::npos);
    }
    SECTION("nothing to do") {
        const qnt::explanation e = qnt::explain(0, 0, 64, parse("int8")).value();
        CHECK(e.weight_bytes == 0);
        CHECK(e.intensity == 0);
        CHECK(e.multiply_adds == 0);
    }
}

// The bytes are those of the matrix that quantize() makes.
TEST_CASE("explain counts the weights that a product reads") {
    for (const char* name : {"f32", "f16", "int8", "int8_channel", "int8:32", "nf4:64", "nf4_dq:64", "int4:48", "uint4:16", "uint4:64:f32"})
        for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{1, 1}, {17, 33}, {40, 200}}) {
            CAPTURE(name, rows, cols);
            const auto x = test::random_floats(rows * cols, 1);
            const auto w = qnt::quantize(qnt::matrix_view<const float>{x.data(), rows, cols}, parse(name)).value();
            CHECK(qnt::explain(1, rows, cols, parse(name)).value().weight_bytes == w.bytes().size());
        }
}
