// Byte-for-byte agreement with bitsandbytes and ggml, and how far our own rules are from theirs.
// The adversarial blocks are in the repository; the real matrix (GPT-2's h.5.attn.k.weight, transposed) is reference data outside of it.
#include <qnt/io/safetensors.hpp>
#include <qnt/quantize.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "npy.hpp"
#include "support.hpp"

namespace {

using qnt::compatibility;
using qnt::matrix_view;
using test::npy;
namespace layout = qnt::layout;

constexpr std::size_t block_rows = 36, block_cols = 256;

std::string folder() {
    const std::string own = QNT_SOURCE_DIR "/tests/data/goldens/adversarial/";
    return test::file_exists(own + "inputs.npy") ? own : QNT_SHARED_DIR "/data/goldens/adversarial/";
}
template <class T> npy<T> adversarial(const std::string& name) { return test::read_npy<T>(folder() + name + ".npy"); }

std::vector<std::string> row_names() {
    std::ifstream file(folder() + "names.txt");
    std::vector<std::string> names;
    for (std::string line; std::getline(file, line);) names.push_back(line);
    return names;
}
bool is_finite_row(const float* x, std::size_t n) {
    return std::all_of(x, x + n, [](float v) { return std::isfinite(v); });
}

// The codes and scales of a packed matrix, read by the documented layout and not by the library: codes in the low nibble first.
template <qnt::format_type F> struct unpacked {
    std::vector<std::uint8_t> codes;
    std::vector<float> scales;

    explicit unpacked(const qnt::packed_matrix<F, layout::rows>& w) {
        const auto* bytes = reinterpret_cast<const unsigned char*>(w.bytes().data());
        const std::size_t row_bytes = (w.cols() * std::size_t(F::code::bits) + 7) / 8, per_row = w.shape().groups();
        for (std::size_t r = 0; r < w.rows(); ++r)
            for (std::size_t c = 0; c < w.cols(); ++c)
                codes.push_back(F::code::bits == 8 ? bytes[r * row_bytes + c] : std::uint8_t(bytes[r * row_bytes + c / 2] >> c % 2 * 4 & 15));
        const unsigned char* from = bytes + (w.rows() * row_bytes + 63) / 64 * 64;
        if (F::scaling::is_nested) return;
        for (std::size_t i = 0; i < w.rows() * per_row; ++i) {
            if (F::scaling::scale == qnt::scalar_type::f32) {
                float v;
                std::memcpy(&v, from + 4 * i, 4);
                scales.push_back(v);
            } else {
                std::uint16_t v;
                std::memcpy(&v, from + 2 * i, 2);
                scales.push_back(float(qnt::f16::from_bits(v)));
            }
        }
    }
};
template <qnt::format_type F, class T>
qnt::result<qnt::packed_matrix<F, layout::rows>> encode(const T* x, std::size_t rows, std::size_t cols, compatibility compat) {
    return qnt::quantize<F, layout::rows>(matrix_view<const T>{x, rows, cols}, {.compat = compat});
}

// bitsandbytes packs the first element into the high nibble and pads an odd one with the code of zero.
std::vector<std::uint8_t> pack_like_bitsandbytes(std::vector<std::uint8_t> codes) {
    if (codes.size() % 2) codes.push_back(7);
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < codes.size(); i += 2) bytes.push_back(std::uint8_t(codes[i] << 4 | codes[i + 1]));
    return bytes;
}
std::vector<float> dequantized(const auto& packed) {
    std::vector<float> v(packed.rows() * packed.cols());
    qnt::dequantize(matrix_view<float>{v.data(), packed.rows(), packed.cols()}, packed);
    return v;
}
std::vector<std::uint8_t> bytes_of(const auto& codes) { return {codes.begin(), codes.end()}; }

// [out, in] of the real matrix, or nothing.
struct real_matrix {
    std::vector<float> stored;  // [in, out]
    matrix_view<const float> view() const { return matrix_view<const float>{stored.data(), 768, 768}.transposed(); }
};
constexpr const char* real_weights = QNT_SHARED_DIR "/data/gpt2_attention/gpt2_124m_attention_subset.safetensors";
std::optional<real_matrix> load_real() {
    if (!test::file_exists(real_weights)) {
        WARN("skipped: " << real_weights << " is not there");
        return {};
    }
    const auto file = qnt::safetensors_file::load(real_weights).value();
    return real_matrix{file.read_f32("h.5.attn.k.weight").value()};
}

}  // namespace

TEST_CASE("the adversarial blocks are what their names say") {
    const auto x = adversarial<float>("inputs");
    REQUIRE(x.shape == std::vector<std::size_t>{block_rows, block_cols});
    const auto names = row_names();
    REQUIRE(names.size() == block_rows);
    const auto nonfinite = adversarial<std::uint8_t>("nonfinite_rows");
    std::size_t bad = 0;
    for (std::size_t r = 0; r < block_rows; ++r) {
        CAPTURE(names[r]);
        CHECK(is_finite_row(x.row(r), block_cols) == !nonfinite[r]);
        bad += nonfinite[r];
    }
    CHECK(bad == 5);
}

// ---- NF4 ----

TEST_CASE("NF4 of adversarial blocks: bitsandbytes' codes, absmax and decoded values") {
    const auto x = adversarial<float>("inputs");
    const auto packed = adversarial<std::uint8_t>("nf4_b64_packed");
    const auto absmax = adversarial<float>("nf4_b64_absmax"), decoded = adversarial<float>("nf4_b64_deq");
    const auto names = row_names();
    std::size_t compared = 0;
    for (std::size_t r = 0; r < block_rows; ++r) {
        INFO("row " << r << " " << names[r]);
        const auto w = encode<qnt::nf4<64>>(x.row(r), 1, block_cols, compatibility::bitsandbytes);
        if (!is_finite_row(x.row(r), block_cols)) {  // bitsandbytes writes NaN and infinities; we refuse
            REQUIRE_FALSE(w.has_value());
            CHECK(w.error().code == qnt::errc::not_finite);
            continue;
        }
        REQUIRE(w.has_value());
        ++compared;
        const unpacked<qnt::nf4<64>> mine(*w);
        CHECK(pack_like_bitsandbytes(mine.codes) == bytes_of(std::span(packed.row(r), 128)));
        CHECK(test::same_bits(mine.scales, {absmax.row(r), 4}));
        // -0 and 0 are told apart: values * absmax is what bitsandbytes computes too
        CHECK(test::same_bits(dequantized(*w), {decoded.row(r), block_cols}));
    }
    CHECK(compared == 31);
}

TEST_CASE("FP4 of adversarial blocks: bitsandbytes' codes, absmax and decoded values") {
    const auto x = adversarial<float>("inputs");
    const auto packed = adversarial<std::uint8_t>("fp4_b64_packed");
    const auto absmax = adversarial<float>("fp4_b64_absmax"), decoded = adversarial<float>("fp4_b64_deq");
    const auto names = row_names();
    std::size_t compared = 0;
    for (std::size_t r = 0; r < block_rows; ++r) {
        if (!is_finite_row(x.row(r), block_cols)) continue;
        INFO("row " << r << " " << names[r]);
        const auto w = encode<qnt::fp4_bnb<64>>(x.row(r), 1, block_cols, compatibility::bitsandbytes).value();
        const unpacked<qnt::fp4_bnb<64>> mine(w);
        CHECK(pack_like_bitsandbytes(mine.codes) == bytes_of(std::span(packed.row(r), 128)));
        CHECK(test::same_bits(mine.scales, {absmax.row(r), 4}));
        CHECK(test::same_bits(dequantized(w), {decoded.row(r), block_cols}));
        ++compared;
    }
    CHECK(compared == 31);
}

TEST_CASE("NF4 of adversarial blocks: where our own rule, x / absmax, differs from bitsandbytes'") {
    const auto x = adversarial<float>("inputs");
    const auto names = row_names();
    std::map<std::string, std::size_t> different;
    for (std::size_t r = 0; r < block_rows; ++r) {
        if (!is_finite_row(x.row(r), block_cols)) continue;
        const unpacked<qnt::nf4<64>> theirs(encode<qnt::nf4<64>>(x.row(r), 1, block_cols, compatibility::bitsandbytes).value());
        const unpacked<qnt::nf4<64>> ours(encode<qnt::nf4<64>>(x.row(r), 1, block_cols, compatibility::none).value());
        CHECK(test::same_bits(ours.scales, theirs.scales));
        for (std::size_t i = 0; i < block_cols; ++i)
            if (ours.codes[i] != theirs.codes[i]) ++different[names[r]];
    }
    // bitsandbytes divides by 1e-38 at least, which makes denormals zeros; nowhere else do the roundings reach a code
    CHECK(different == std::map<std::string, std::size_t>{{"denormals", 248}});
}

TEST_CASE("NF4 of odd lengths: a short last block is divided, and its absmax at least 1e-38") {
    for (const std::size_t n :
         {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{31}, std::size_t{33}, std::size_t{63}, std::size_t{64}, std::size_t{65},
          std::size_t{100}, std::size_t{127}, std::size_t{129}, std::size_t{255}, std::size_t{257}, std::size_t{1000}}) {
        const std::string name = "odd" + std::to_string(n);
        INFO(name);
        const auto x = adversarial<float>(name + "_input"), absmax = adversarial<float>(name + "_nf4_absmax"),
                   decoded = adversarial<float>(name + "_nf4_deq");
        const auto packed = adversarial<std::uint8_t>(name + "_nf4_packed");
        REQUIRE(x.size() == n);
        const auto w = encode<qnt::nf4<64>>(x.data(), 1, n, compatibility::bitsandbytes).value();
        const unpacked<qnt::nf4<64>> mine(w);
        CHECK(pack_like_bitsandbytes(mine.codes) == bytes_of(packed));
        CHECK(test::same_bits(mine.scales, absmax));
        CHECK(test::same_bits(dequantized(w), decoded));
    }
    const std::vector<float> zeros(65);
    const auto packed = adversarial<std::uint8_t>("odd65_allzero_nf4_packed");
    const auto absmax = adversarial<float>("odd65_allzero_nf4_absmax");
    const auto w = encode<qnt::nf4<64>>(zeros.data(), 1, 65, compatibility::bitsandbytes).value();
    const unpacked<qnt::nf4<64>> mine(w);
    CHECK(pack_like_bitsandbytes(mine.codes) == bytes_of(packed));
    CHECK(test::same_bits(mine.scales, absmax));
    CHECK(mine.scales[1] == 1e-38f);
}

TEST_CASE("NF4 of a real matrix: all of bitsandbytes' bytes; our own rule differs in few codes") {
    const auto real = load_real();
    const auto packed = test::load_shared<std::uint8_t>("data/goldens/real/nf4_b64_packed.npy");
    const auto absmax = test::load_shared<float>("data/goldens/real/nf4_b64_absmax.npy");
    const auto first_row = test::load_shared<float>("data/goldens/real/nf4_dequant_row0.npy");
    const auto table = test::load_shared<float>("data/goldens/real/nf4_code.npy");
    if (!real || !packed || !absmax || !first_row || !table) return;
    CHECK(test::same_bits(qnt::nf4_code::values, *table));

    const auto w = qnt::quantize<qnt::nf4<64>, layout::rows>(real->view(), {.compat = compatibility::bitsandbytes}).value();
    const unpacked<qnt::nf4<64>> theirs(w);
    CHECK(pack_like_bitsandbytes(theirs.codes) == bytes_of(*packed));
    CHECK(test::same_bits(theirs.scales, *absmax));
    const auto values = dequantized(w);
    CHECK(test::same_bits(std::span(values).first(768), *first_row));

    // x / absmax and x * (1 / absmax) round differently; only values at a midpoint notice
    const unpacked<qnt::nf4<64>> ours(qnt::quantize<qnt::nf4<64>, layout::rows>(real->view()).value());
    CHECK(test::same_bits(ours.scales, theirs.scales));
    std::size_t different = 0;
    for (std::size_t i = 0; i < ours.codes.size(); ++i) {
        if (ours.codes[i] == theirs.codes[i]) continue;
        ++different;
        CHECK(std::abs(int(ours.codes[i]) - int(theirs.codes[i])) == 1);
    }
    CHECK(different == 0);
}

TEST_CASE("double-quantized NF4 of a real matrix: bitsandbytes' bytes; our own rule differs in the scales its table misplaces") {
    const auto real = load_real();
    const auto packed = test::load_shared<std::uint8_t>("data/goldens/real/nf4_b64_packed.npy");
    const auto inner = test::load_shared<std::uint8_t>("data/goldens/real/nf4_dq_qabsmax.npy");
    const auto outer = test::load_shared<float>("data/goldens/real/nf4_dq_absmax2.npy"),
               offset = test::load_shared<float>("data/goldens/real/nf4_dq_offset.npy");
    const auto absmax = test::load_shared<float>("data/goldens/real/nf4_b64_absmax.npy"),
               first_row = test::load_shared<float>("data/goldens/real/nf4_dq_dequant_row0.npy");
    if (!real || !packed || !inner || !outer || !offset || !absmax || !first_row) return;
    constexpr std::size_t scales = 768 * 12, blocks = scales / 256;
    REQUIRE(inner->size() == scales);
    REQUIRE(outer->size() == blocks);

    struct sections {
        const std::uint8_t* codes;
        std::vector<float> absmax;
        float offset;
        explicit sections(const qnt::packed_matrix<qnt::nf4_dq<64>, layout::rows>& w) : absmax(blocks) {
            codes = reinterpret_cast<const std::uint8_t*>(w.bytes().data()) + 768 * 384;
            std::memcpy(absmax.data(), codes + scales, blocks * 4);
            std::memcpy(&offset, codes + scales + blocks * 4, 4);
        }
    };
    const auto w = qnt::quantize<qnt::nf4_dq<64>, layout::rows>(real->view(), {.compat = compatibility::bitsandbytes}).value();
    const sections theirs(w);
    CHECK(pack_like_bitsandbytes(unpacked<qnt::nf4_dq<64>>(w).codes) == bytes_of(*packed));  // codes see the unquantized absmax
    CHECK(theirs.offset == (*offset)[0]);  // the mean's last bits depend on the order of the sum; torch's happens to round to ours
    CHECK(std::equal(inner->begin(), inner->end(), theirs.codes));
    CHECK(test::same_bits(theirs.absmax, *outer));
    const auto values = dequantized(w);
    CHECK(test::same_bits(std::span(values).first(768), *first_row));

    // Our own rule takes the nearest entry. Where bitsandbytes does not, its bin of 2^-15 of the range was too coarse.
    const auto own = qnt::quantize<qnt::nf4_dq<64>, layout::rows>(real->view()).value();
    const sections ours(own);
    CHECK(ours.offset == theirs.offset);
    CHECK(test::same_bits(ours.absmax, theirs.absmax));
    std::size_t different = 0;
    for (std::size_t i = 0; i < scales; ++i) {
        const double x = (double((*absmax)[i]) - double(ours.offset)) / double(ours.absmax[i / 256]);
        const auto distance = [&](std::uint8_t q) { return std::fabs(x - double(qnt::dynamic_u8::values[q])); };
        if (ours.codes[i] == theirs.codes[i]) continue;
        ++different;
        CAPTURE(i, x);
        CHECK(std::abs(int(ours.codes[i]) - int(theirs.codes[i])) == 1);
        CHECK(distance(ours.codes[i]) <= distance(theirs.codes[i]));
        CHECK(distance(theirs.codes[i]) - distance(ours.codes[i]) < 0x1p-14);
    }
    CHECK(different == 21);  // as goldens_meta.json counts
}

// ---- int8 ----

TEST_CASE("int8 per row of a real matrix: bitsandbytes' vectorwise codes") {
    const auto real = load_real();
    if (!real) return;
    // These stand beside the adversarial blocks but are rows of the real matrix: not in the repository.
    const auto codes = test::read_npy<std::int8_t>(QNT_SHARED_DIR "/data/goldens/adversarial/int8_vectorwise_q.npy");
    const auto absmax = test::read_npy<float>(QNT_SHARED_DIR "/data/goldens/adversarial/int8_vectorwise_scale_absmax.npy");
    REQUIRE(codes.shape == std::vector<std::size_t>{8, 768});
    std::vector<qnt::f16> x;
    for (std::size_t r = 0; r < 8; ++r)
        for (std::size_t c = 0; c < 768; ++c) x.emplace_back(real->view()(r, c));

    const unpacked<qnt::int8_channel> theirs(encode<qnt::int8_channel>(x.data(), 8, 768, compatibility::bitsandbytes).value());
    const unpacked<qnt::int8_channel> ours(encode<qnt::int8_channel>(x.data(), 8, 768, compatibility::none).value());
    std::size_t wrong = 0, different = 0;
    for (std::size_t i = 0; i < codes.size(); ++i) {
        wrong += theirs.codes[i] != std::uint8_t(codes[i]);
        different += ours.codes[i] != theirs.codes[i];
    }
    CHECK(wrong == 0);
    CHECK(different == 0);
    for (std::size_t r = 0; r < 8; ++r) CHECK(theirs.scales[r] == float(double(absmax[r]) / 127));  // they store absmax, we the step
}

TEST_CASE("Q8_0 of adversarial blocks: ggml's bytes") {
    const auto x = adversarial<float>("inputs"), decoded = adversarial<float>("ggml_Q8_0_deq");
    const auto blocks = adversarial<std::uint8_t>("ggml_Q8_0");  // f16 d, 32 codes, ..
    const auto names = row_names();
    std::size_t compared = 0, refused = 0, overflowing = 0;
    for (std::size_t r = 0; r < block_rows; ++r)
        for (std::size_t b = 0; b < 8; ++b) {
            INFO("row " << r << " " << names[r] << ", block " << b);
            const float* from = x.row(r) + 32 * b;
            const std::uint8_t* block = blocks.row(r) + 34 * b;
            const float d = float(qnt::f16::from_bits(std::uint16_t(block[0] | block[1] << 8)));
            const auto w = encode<qnt::q8_0>(from, 1, 32, compatibility::ggml);
            if (!is_finite_row(from, 32)) {
                REQUIRE_FALSE(w.has_value());
                CHECK(w.error().code == qnt::errc::not_finite);
                ++refused;
            } else if (!std::isfinite(d)) {  // ggml writes an infinite d, and NaN come out
                REQUIRE_FALSE(w.has_value());
                CHECK(w.error().code == qnt::errc::scale_range);
                ++overflowing;
            } else {
                REQUIRE(w.has_value());
                const unpacked<qnt::q8_0> mine(*w);
                CHECK(mine.codes == std::vector<std::uint8_t>(block + 2, block + 34));
                CHECK(test::same_bits(mine.scales, {&d, 1}));
                CHECK(test::same_bits(dequantized(*w), {decoded.row(r) + 32 * b, 32}));
                ++compared;
            }
        }
    INFO(compared << " compared, " << refused << " refused, " << overflowing << " overflow");
    CHECK(compared + refused + overflowing == 36 * 8);
    CHECK(refused > 0);
    CHECK(overflowing > 0);
}

TEST_CASE("Q8_0 of a real matrix: ggml's bytes; our own rule differs in few codes") {
    const auto real = load_real();
    const auto blocks = test::load_shared<std::uint8_t>("data/goldens/real/ggml_Q8_0.npy");
    if (!real || !blocks) return;
    REQUIRE(blocks->shape == std::vector<std::size_t>{768, 816});
    const unpacked<qnt::q8_0> theirs(qnt::quantize<qnt::q8_0, layout::rows>(real->view(), {.compat = compatibility::ggml}).value());
    const unpacked<qnt::q8_0> ours(qnt::quantize<qnt::q8_0, layout::rows>(real->view()).value());
    std::size_t wrong = 0, different = 0;
    for (std::size_t i = 0; i < 768 * 24; ++i) {
        const std::uint8_t* block = blocks->data() + 34 * i;
        wrong += qnt::f16(theirs.scales[i]).bits != (block[0] | block[1] << 8);
        for (std::size_t j = 0; j < 32; ++j) {
            wrong += theirs.codes[32 * i + j] != block[2 + j];
            different += theirs.codes[32 * i + j] != ours.codes[32 * i + j];
        }
    }
    CHECK(wrong == 0);
    CHECK(test::same_bits(ours.scales, theirs.scales));
    CHECK(different == 4254);  // of 589,824: our codes are computed with the rounded d, and lose less:
    const auto loss = [&](compatibility compat) {
        qnt::quantization_report report;
        REQUIRE(qnt::quantize<qnt::q8_0>(real->view(), {.compat = compat, .report = &report}).has_value());
        return report.mse;
    };
    CHECK(loss(compatibility::none) < loss(compatibility::ggml));
}

// ---- what we refuse to imitate ----

TEST_CASE("compatibility is refused where the other system has no such format or shape") {
    const std::vector<float> x(2 * 96, 1.0f);
    const auto code_of = [](const auto& r) {
        REQUIRE_FALSE(r.has_value());
        CHECK(r.error().message.find("qnt::quantize: ") == 0);
        return r.error().code;
    };
    constexpr auto unsupported = qnt::errc::unsupported;
    constexpr auto bnb = compatibility::bitsandbytes, ggml = compatibility::ggml;
    CHECK(code_of(encode<qnt::int8>(x.data(), 2, 96, bnb)) == unsupported);
    CHECK(code_of(encode<qnt::int4<32>>(x.data(), 2, 96, bnb)) == unsupported);
    CHECK(code_of(encode<qnt::nf4<64, qnt::f16>>(x.data(), 2, 64, bnb)) == unsupported);
    CHECK(code_of(encode<qnt::nf4<48>>(x.data(), 2, 96, bnb)) == unsupported);
    CHECK(code_of(encode<qnt::nf4<64>>(x.data(), 2, 96, bnb)) == unsupported);  // its blocks would cross rows
    CHECK(code_of(encode<qnt::dense_format<float>>(x.data(), 2, 96, bnb)) == unsupported);
    CHECK(code_of(encode<qnt::format<qnt::int8_code, qnt::per_channel<qnt::f16>>>(x.data(), 2, 96, bnb)) == unsupported);
    CHECK(code_of(encode<qnt::format<qnt::nf4_code, qnt::per_channel<float>>>(x.data(), 2, 96, bnb)) == unsupported);
    CHECK(code_of(encode<qnt::int8_group<64>>(x.data(), 2, 64, ggml)) == unsupported);
    CHECK(code_of(encode<qnt::int8_group<32, float>>(x.data(), 2, 64, ggml)) == unsupported);
    CHECK(code_of(encode<qnt::int8_channel>(x.data(), 2, 64, ggml)) == unsupported);
    CHECK(code_of(encode<qnt::int4<32>>(x.data(), 2, 64, ggml)) == unsupported);
    CHECK(code_of(encode<qnt::q8_0>(x.data(), 2, 80, ggml)) == unsupported);  // no short blocks there

    CHECK(encode<qnt::nf4<64>>(x.data(), 1, 96, bnb).has_value());
    CHECK(encode<qnt::nf4<32>>(x.data(), 2, 96, bnb).has_value());
    CHECK(encode<qnt::nf4_dq<32>>(x.data(), 2, 96, bnb).has_value());
    CHECK(encode<qnt::int8_channel>(x.data(), 2, 95, bnb).has_value());
    CHECK(encode<qnt::q8_0>(x.data(), 2, 96, ggml).has_value());
}

// Goal 1 of the reference figures: no peer's mean SQNR over the 12 attention matrices is more than 0.02 dB above ours.
TEST_CASE("errors on real matrices are not larger than those of other systems") {
    if (!test::file_exists(real_weights)) {
        WARN("skipped: " << real_weights << " is not there");
        return;
    }
    const auto file = qnt::safetensors_file::load(real_weights).value();
    const auto mean_sqnr = [&]<class F>(F) {
        double sum = 0;
        for (const char* block : {"0", "5", "11"})
            for (const char* part : {"q", "k", "v", "proj"}) {
                const auto weights = file.read_f32("h." + std::string(block) + ".attn." + part + ".weight").value();
                const auto w = matrix_view<const float>{weights.data(), 768, 768}.transposed();
                sum += qnt::compare(w, qnt::quantize<F>(w).value()).sqnr_db;
            }
        return sum / 12;
    };
    CHECK(mean_sqnr(qnt::int8{}) >= 30.93 - 0.02);
    CHECK(mean_sqnr(qnt::int8_channel{}) >= 41.00 - 0.02);
    CHECK(mean_sqnr(qnt::q8_0{}) >= 45.21 - 0.02);
    CHECK(mean_sqnr(qnt::nf4<64>{}) >= 20.59 - 0.02);
    CHECK(mean_sqnr(qnt::nf4_dq<64>{}) >= 20.58 - 0.02);
    CHECK(mean_sqnr(qnt::int4<32>{}) >= 20.05 - 0.02);
    CHECK(mean_sqnr(qnt::uint4<32>{}) >= 21.75 - 0.02);
}
