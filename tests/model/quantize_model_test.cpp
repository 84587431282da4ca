#include <qnt/model/quantize_model.hpp>

#include <cmath>
#include <limits>

#include "io/temp_folder.hpp"
#include "support.hpp"

namespace {

const std::vector<float> w = test::random_floats(48 * 96, 1), bias = test::random_floats(48, 2);

qnt::checkpoint small_checkpoint() {
    return {{"fc", {96, 48}, true, [] { return w; }}, {"emb", {48, 96}, false, [] { return w; }}, {"fc.bias", {48}, false, [] { return bias; }}};
}
const qnt::policy rules{{"emb", qnt::use<qnt::int8_channel>}, {"*.bias", qnt::keep<qnt::f16>}, {"*", qnt::use<qnt::nf4<64>>}};

}  // namespace

TEST_CASE("a checkpoint becomes an archive: formats, bytes and products are those of quantize()") {
    const temp_folder folder;
    const std::string path = folder / "model.qnt";
    const auto report = qnt::quantize_model(small_checkpoint(), rules, path, {.metadata = {{"source", "a test"}}}).value();
    const auto archive = qnt::archive::map(path).value();
    REQUIRE(archive.verify());
    REQUIRE(report.tensors.size() == 3);
    CHECK(report.parameters == 2 * 48 * 96 + 48);

    const auto fc = qnt::quantize<qnt::nf4<64>>(qnt::matrix_view<const float>{w.data(), 96, 48}.transposed()).value();
    const auto stored = archive.get<qnt::nf4<64>>("fc").value();
    CHECK(stored.rows() == 48);
    CHECK(std::memcmp(stored.data, fc.bytes().data(), fc.bytes().size()) == 0);
    std::vector<float> x = test::random_floats(96, 3), a(48), b(48);
    qnt::gemv(a, x, fc);
    qnt::gemv(b, x, stored);
    CHECK(test::same_bits(a, b));

    CHECK(report.tensors[0].shape == std::vector<std::size_t>{48, 96});
    CHECK(report.tensors[0].report.sqnr_db == qnt::compare(qnt::matrix_view<const float>{w.data(), 96, 48}.transposed(), fc).sqnr_db);
    CHECK(report.tensors[1].format.name() == "int8_channel");
    CHECK(report.tensors[2].kept);
    CHECK(report.bytes == qnt::storage_bytes<qnt::nf4<64>>(48, 96) + qnt::storage_bytes<qnt::int8_channel>(48, 96) + 48 * 2);
    const auto kept = archive.get_array<qnt::f16>("fc.bias").value();
    for (std::size_t i = 0; i < bias.size(); ++i) CHECK(kept[i] == qnt::f16(bias[i]));
    CHECK(std::find(archive.metadata().begin(), archive.metadata().end(), std::pair<std::string, std::string>("source", "a test")) !=
          archive.metadata().end());

    CHECK(text_of(path).size() == 11680);  // of the writer of version 1.0 that kept all tensors until the end
    CHECK(qnt::crc32c(as_bytes(text_of(path))) == 0xcdd7011f);
    qnt::archive_writer all;
    const auto emb = qnt::quantize<qnt::int8_channel>(qnt::matrix_view<const float>{w.data(), 48, 96}).value();
    const std::vector<qnt::f16> narrow(kept.begin(), kept.end());
    REQUIRE(all.add("fc", fc));
    REQUIRE(all.add("emb", emb));
    REQUIRE(all.add("fc.bias", narrow));
    REQUIRE(all.set_metadata("policy", rules.to_json()));
    REQUIRE(all.set_metadata("source", "a test"));
    REQUIRE(all.finish(folder / "all.qnt"));
    CHECK(text_of(path) == text_of(folder / "all.qnt"));
}

TEST_CASE("a tensor is on the disk before the next one is read") {
    const temp_folder folder;
    std::vector<std::uintmax_t> bytes;  // of the file that grows, at each read
    const auto note = [&] { bytes.push_back(std::filesystem::directory_iterator(folder.path)->file_size()); };
    qnt::checkpoint in;
    for (const char* name : {"a", "b", "c.bias", "d"}) {
        const bool is_bias = std::string(name) == "c.bias";
        const std::vector<std::size_t> shape = is_bias ? std::vector<std::size_t>{48} : std::vector<std::size_t>{48, 96};
        in.push_back({name, shape, false, [&, is_bias] { return note(), is_bias ? bias : w; }});
    }
    const auto report = qnt::quantize_model(in, rules, folder / "model.qnt").value();
    const std::size_t matrix = 3 * qnt::panel_layout(qnt::info_of<qnt::nf4<64>>, {16, 96, 64}).panel_bytes;
    CHECK(bytes == std::vector<std::uintmax_t>{4096, 4096 + matrix, 4096 + 2 * matrix, 4096 + 2 * matrix + 96});
    CHECK(report.tensors.size() == 4);
    CHECK(folder.files() == 1);
}

TEST_CASE("what lies as f32 already is quantized where it lies, and given back when it was read, whatever came of it") {
    const temp_folder folder;
    const qnt::checkpoint copied = small_checkpoint();
    qnt::checkpoint in = copied;
    std::vector<std::string> given_back;
    for (qnt::checkpoint_tensor& t : in) {
        t.read = [] { return qnt::result<std::vector<float>>(qnt::error{qnt::errc::io, "read() of a tensor that lies in place"}); };
        t.in_place = t.shape.size() == 1 ? bias : w;
        t.forget = [&given_back, name = t.name] { given_back.push_back(name); };
    }
    REQUIRE(qnt::quantize_model(copied, rules, folder / "copied.qnt"));
    REQUIRE(qnt::quantize_model(in, rules, folder / "in_place.qnt"));
    CHECK(text_of(folder / "in_place.qnt") == text_of(folder / "copied.qnt"));
    CHECK(given_back == std::vector<std::string>{"fc", "emb", "fc.bias"});

    given_back.clear();
    in[1].in_place = std::span(w).first(96);
    const auto refused = qnt::quantize_model(in, rules, folder / "refused.qnt");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message == "tensor 'emb': the loader read 96 elements, the shape has 4608");
    CHECK(given_back == std::vector<std::string>{"fc", "emb"});
}

TEST_CASE("a plan knows formats, shapes and sizes, and reads nothing") {
    qnt::checkpoint in = small_checkpoint();
    for (auto& t : in) t.read = nullptr;
    const auto plan = qnt::plan_model(in, rules).value();
    const temp_folder folder;
    const auto report = qnt::quantize_model(small_checkpoint(), rules, folder / "model.qnt").value();
    REQUIRE(plan.tensors.size() == 3);
    CHECK(plan.parameters == 2 * 48 * 96 + 48);
    CHECK(plan.bytes == 48 * 96 / 2 + 48 * 2 * 4 + 48 * 96 + 48 * 4 + 48 * 2);  // nf4:64 with f32 scales, int8_channel, f16
    CHECK(plan.effective_bits() == report.effective_bits());
    for (std::size_t i = 0; i < 3; ++i) {
        const qnt::tensor_report &p = plan.tensors[i], &r = report.tensors[i];
        CHECK(p.name == r.name);
        CHECK(p.shape == r.shape);
        CHECK(p.format == r.format);
        CHECK(p.kept == r.kept);
        CHECK(p.report.bytes == r.report.bytes);
        CHECK(p.report.bits.stored == r.report.bits.stored);
        CHECK(p.report.bits.streamed == r.report.bits.streamed);
        CHECK(p.report.groups == r.report.groups);
    }
    constexpr std::size_t most = ~std::size_t{0};
    const auto message = [](const qnt::result<qnt::model_report>& r) { return r ? "" : r.error().message; };
    CHECK(message(qnt::plan_model(in, {{"fc", qnt::use<qnt::int8>}})).starts_with("tensor 'emb': policy: no rule matches"));
    CHECK(message(qnt::plan_model({{"x", {most, 2}, false, nullptr}}, rules)) == "tensor 'x': the number of its elements overflows 64 bits");
    CHECK(message(qnt::plan_model({{"x", {most}, false, nullptr}}, rules)).starts_with("tensor 'x': shape [18446744073709551615] is impossible"));
    CHECK(message(qnt::plan_model({{"x", {0, 2}, false, nullptr}}, rules)) == "tensor 'x': shape [0, 2] is impossible for nf4:64");
}

TEST_CASE("what fails names the tensor and leaves no file behind") {
    const temp_folder folder;
    const auto message = [&](const qnt::checkpoint& in, const qnt::policy& p = rules, const qnt::quantize_model_options& o = {}) {
        const auto r = qnt::quantize_model(in, p, folder / "model.qnt", o);
        REQUIRE_FALSE(r);
        CHECK(folder.files() == 0);
        return r.error().message;
    };
    auto nan = w;
    nan[97] = std::numeric_limits<float>::quiet_NaN();
    CHECK(message({{"emb", {48, 96}, false, [&] { return nan; }}}) == "tensor 'emb': qnt::quantize: row 1, column 1 is not a finite number");
    CHECK(message({{"fc", {96, 48}, true, [&] { return nan; }}}) == "tensor 'fc': qnt::quantize: row 1, column 2 is not a finite number");
    CHECK(message({{"fc", {96, 47}, true, [] { return w; }}}).find("read 4608 elements, the shape has 4512") != std::string::npos);
    CHECK(message(small_checkpoint(), {{"fc", qnt::use<qnt::int8>}}).find("no rule matches tensor 'emb'") != std::string::npos);
    CHECK(message({{"a.bias", {1}, false, [] { return std::vector<float>{1e6f}; }}}) == "tensor 'a.bias': element 0 overflows f16; keep it as f32");
    int asked = 0;
    CHECK(message(small_checkpoint(), rules, {.progress = [&](std::size_t, std::size_t, const std::string&) { return ++asked < 2; }})
              .find("cancelled before tensor 'emb'") != std::string::npos);
}

TEST_CASE("codes that a checkpoint holds in the format of the policy are taken over as they are") {
    const temp_folder folder;
    const auto stored = qnt::quantize(qnt::matrix_view<const float>{w.data(), 48, 96}, qnt::use<qnt::nf4<64>>).value();
    int packed = 0;
    qnt::checkpoint_tensor t{.name = "fc", .shape = {48, 96}, .read = [] { return w; }, .stored_as = "nf4:64"};
    t.packed_format = qnt::use<qnt::nf4<64>>;
    t.read_packed = [&]() -> qnt::result<qnt::any_matrix> {
        ++packed;
        return qnt::quantize(qnt::matrix_view<const float>{w.data(), 48, 96}, qnt::use<qnt::nf4<64>>);
    };
    const auto written = [&](const char* format, bool transposed) {
        t.transposed = transposed;
        return qnt::quantize_model({t}, {{"*", qnt::any_format::parse(format).value()}}, folder / "model.qnt").value().tensors[0];
    };
    const auto r = written("nf4:64", false);
    CHECK(packed == 1);
    CHECK(r.lossless);
    CHECK(r.report.mse == 0);
    CHECK(r.report.sqnr_db == std::numeric_limits<double>::infinity());
    CHECK(r.report.bytes == qnt::storage_bytes<qnt::nf4<64>>(48, 96));
    CHECK(r.report.groups == 48 * 2);
    const auto archive = qnt::archive::map(folder / "model.qnt").value();
    CHECK(std::memcmp(archive.get_any("fc").value().data, stored.bytes().data(), stored.bytes().size()) == 0);
    CHECK_FALSE(written("nf4:32", false).lossless);
    CHECK_FALSE(written("nf4:64", true).lossless);
    CHECK(packed == 1);

    t.shape = {96, 48};
    t.transposed = false;
    CHECK(qnt::quantize_model({t}, {{"*", qnt::use<qnt::nf4<64>>}}, folder / "model.qnt").error().message ==
          "tensor 'fc': the loader read nf4:64 [48, 96], it says nf4:64 [96, 48]");
    t.shape = {48, 96};
    t.is_array = true;
    const auto kept = written("nf4:64", false);
    CHECK(kept.kept);
    CHECK(kept.format.name() == "f32");
    CHECK(test::same_bits(qnt::archive::map(folder / "model.qnt").value().read_f32("fc").value(), w));
}

TEST_CASE("codes that turn out not to be what was planned are quantized as planned otherwise, never in silence") {
    const temp_folder folder;
    const qnt::policy policy{{"*", qnt::use<qnt::int8_group<32>>}};
    const auto expected = qnt::quantize(qnt::matrix_view<const float>{w.data(), 48, 96}, qnt::use<qnt::int8_group<32>>).value();
    int read = 0;
    qnt::checkpoint_tensor t{.name = "fc", .shape = {48, 96}, .read = [&] { return ++read, w; }};
    t.packed_format = qnt::use<qnt::int8_group<32>>;
    t.read_packed = []() -> qnt::result<qnt::any_matrix> { return qnt::error{qnt::errc::unsupported, "a code is -128"}; };

    const auto plan = qnt::plan_model({t}, policy).value();
    CHECK(plan.tensors[0].lossless);
    const auto done = qnt::quantize_model({t}, policy, folder / "model.qnt").value();
    const qnt::tensor_report& r = done.tensors[0];
    CHECK(read == 1);
    CHECK_FALSE(r.lossless);
    CHECK(std::isfinite(r.report.sqnr_db));
    CHECK(r.report.mse > 0);
    CHECK(r.format == plan.tensors[0].format);
    CHECK(r.shape == plan.tensors[0].shape);
    CHECK(r.transform == plan.tensors[0].transform);
    CHECK(r.report.bytes == plan.tensors[0].report.bytes);
    CHECK(done.bytes == plan.bytes);
    const auto archive = qnt::archive::map(folder / "model.qnt").value();
    CHECK(std::memcmp(archive.get_any("fc").value().data, expected.bytes().data(), expected.bytes().size()) == 0);
    qnt::tensor_report single;
    REQUIRE(qnt::quantize_tensor(t, policy, single));
    CHECK_FALSE(single.lossless);

    const auto message = [&](const qnt::quantize_model_options& o = {}) {
        read = 0;
        const auto refused = qnt::quantize_model({t}, policy, folder / "refused.qnt", o);
        REQUIRE_FALSE(refused);
        CHECK(read == 0);
        CHECK(folder.files() == 1);
        return refused.error().message;
    };
    CHECK(message({.strict = true}) == "tensor 'fc': a code is -128");
    t.packed_transform = qnt::input_transform::permutation;  // declared before it is read
    CHECK(message() == "tensor 'fc': a code is -128");
    t.packed_transform = qnt::input_transform::none;
    t.read_packed = []() -> qnt::result<qnt::any_matrix> { return qnt::error{qnt::errc::corrupt, "broken"}; };
    CHECK(message() == "tensor 'fc': broken");
}

TEST_CASE("rules with outliers choose columns by what is known of the inputs, and say what is missing") {
    const temp_folder folder;
    const std::string path = folder / "model.qnt";
    const qnt::policy policy{qnt::policy_rule::parse("fc", "nf4:64+outliers:3").value(), {"*", qnt::use<qnt::int8_channel>}};
    qnt::checkpoint in = small_checkpoint();
    const auto message = [&] {
        const auto r = qnt::plan_model(in, policy);
        return r ? "" : r.error().message;
    };
    CHECK(message() ==
          "tensor 'fc': nf4:64+outliers:3 chooses columns by the largest magnitude of their inputs, and nothing says what that is: "
          "run the model over a text (calibrate) first");
    in[0].input_absmax.assign(48, 1);  // fc is stored as [96, 48], [in, out]
    CHECK(message().ends_with("and there are 48 for the 96 columns"));
    in[0].input_absmax.assign(96, 1);
    CHECK(qnt::plan_model(in, policy)->tensors[0].transform == qnt::input_transform::none);
    in[0].input_absmax[5] = 3;
    in[0].input_absmax[95] = 70;

    const auto plan = qnt::plan_model(in, policy).value(), report = qnt::quantize_model(in, policy, path).value();
    for (const qnt::model_report* r : {&plan, &report}) {
        const qnt::tensor_report& t = r->tensors[0];
        CHECK(t.transform == qnt::input_transform::outliers);
        CHECK(t.outliers == std::vector<std::uint32_t>{5, 95});
        CHECK(t.report.outliers == 2);
        CHECK(t.report.outlier_share() == 2.0 / 96);
        CHECK(t.report.bytes == qnt::storage_bytes<qnt::nf4<64>>(48, 96) + 2 * (48 * 2 + 4));
        CHECK(t.report.bits.streamed ==
              Approx(8.0 * double(qnt::streamed_bytes(qnt::info_of<qnt::nf4<64>>, {48, 96, 64}) + 2 * (48 * 2 + 4)) / (48 * 96)));
        CHECK(r->bytes == t.report.bytes + qnt::storage_bytes<qnt::int8_channel>(48, 96) + 48 * 4);
        CHECK(r->tensors[1].report.outliers == 0);
    }
    const auto direct =
        qnt::quantize(qnt::matrix_view<const float>{w.data(), 96, 48}.transposed(), qnt::use<qnt::nf4<64>>, {.outliers = report.tensors[0].outliers})
            .value();
    const auto archive = qnt::archive::map(path).value();
    REQUIRE(archive.verify());
    std::vector<float> x = test::random_floats(96, 3), a(48), b(48);
    qnt::gemv(std::span<float>(a), std::span<const float>(x), direct.view());
    qnt::gemv(std::span<float>(b), std::span<const float>(x), archive.get_any("fc").value());
    CHECK(test::same_bits(a, b));

    // What is stored with outliers is taken over where outliers are asked for, whatever the threshold was, and decoded where they are not.
    qnt::checkpoint_tensor stored{.name = "fc", .shape = {48, 96}, .read = [] { return w; }, .packed_format = qnt::use<qnt::nf4<64>>};
    stored.packed_transform = qnt::input_transform::outliers;
    stored.packed_outliers = 2;
    stored.read_packed = [&]() -> qnt::result<qnt::any_matrix> {
        return qnt::quantize(qnt::matrix_view<const float>{w.data(), 48, 96}, qnt::use<qnt::nf4<64>>, {.outliers = report.tensors[0].outliers});
    };
    const auto taken = qnt::quantize_model({stored}, policy, folder / "taken.qnt").value().tensors[0];
    CHECK(taken.lossless);
    CHECK(taken.report.outliers == 2);
    CHECK(qnt::archive::map(folder / "taken.qnt")->tensors()[0].outliers == 2);
    const auto plain = qnt::quantize_model({stored}, {{"*", qnt::use<qnt::nf4<64>>}}, folder / "plain.qnt").value().tensors[0];
    CHECK_FALSE(plain.lossless);
    CHECK(plain.transform == qnt::input_transform::none);
    stored.packed_outliers = 3;  // not what comes
    CHECK_FALSE(qnt::quantize_model({stored}, policy, folder / "refused.qnt"));
}
