// Files of weights as one checkpoint: the numbers are those of each file's own reader.
#include <qnt/qnt.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "io/awq_builder.hpp"
#include "io/gptq_builder.hpp"
#include "io/temp_folder.hpp"
#include "support.hpp"

namespace {

namespace fs = std::filesystem;
const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

std::string message_of(const std::string& path) {
    const auto file = qnt::checkpoint_file::open(path);
    REQUIRE_FALSE(file);
    return file.error().message;
}

// A folder with model.safetensors and, if it says anything, a JSON file that says what it is.
void write_model(const temp_folder& at, const std::vector<qnt::named_array>& tensors, const char* config_name = "config.json",
                 const std::string& config = "") {
    for (const char* name : {"config.json", "quantize_config.json", "quant_config.json"}) fs::remove(at / name);
    write_text(at / "model.safetensors", test::safetensors_image(tensors).bytes());
    if (!config.empty()) write_text(at / config_name, config);
}

std::vector<float> decoded(const qnt::any_matrix& w) {
    std::vector<float> v(w.rows() * w.cols());
    qnt::dequantize(qnt::matrix_view<float>{v.data(), w.rows(), w.cols()}, w.view());
    return v;
}

// The matrix "a" alone, converted to `format` and read back.
struct converted {
    qnt::tensor_report plan, report;
    std::vector<float> weights;
};
converted convert(const temp_folder& at, const char* format) {
    const qnt::checkpoint in{*qnt::checkpoint_file::open(at.path.string()).value().find("a.weight")};
    const qnt::policy policy{{"*", qnt::any_format::parse(format).value()}};
    const auto plan = qnt::plan_model(in, policy).value();
    const auto report = qnt::quantize_model(in, policy, at / "out.qnt").value();
    return {plan.tensors[0], report.tensors[0], qnt::checkpoint_file::open(at / "out.qnt").value().find("a.weight")->read().value()};
}

using test::gptq::columns;
constexpr auto v1 = qnt::gptq_convention::v1, v2 = qnt::gptq_convention::v2;

}  // namespace

TEST_CASE("checkpoint_file: safetensors, as a file and as a folder") {
    const auto expected = qnt::safetensors_file::open(folder + "/model.safetensors").value();
    for (const std::string& path : {folder, folder + "/", folder + "/model.safetensors"}) {
        const auto file = qnt::checkpoint_file::open(path).value();
        CHECK(file.path() == path);
        CHECK(fs::equivalent(file.folder(), folder));
        CHECK(file.as_safetensors());
        CHECK_FALSE(file.as_archive());
        REQUIRE(file.tensors().size() == expected.tensors().size());
        for (std::size_t i = 0; i < file.tensors().size(); ++i) {
            const qnt::checkpoint_tensor& t = file.tensors()[i];
            const qnt::safetensors_tensor& e = expected.tensors()[i];
            CHECK(t.name == e.name);
            CHECK(t.shape == e.shape);
            CHECK(t.stored_as == e.dtype_text);
            CHECK_FALSE(t.read_packed);
            CHECK(file.find(e.name) == &t);
        }
        const std::string& name = file.tensors()[3].name;
        CHECK(test::same_bits(file.tensors()[3].read().value(), expected.read_f32(name).value()));
        CHECK(file.find("no such tensor") == nullptr);
    }
}

TEST_CASE("checkpoint_file: f32 that lie aligned in a file are lent, all others are read") {
    const temp_folder at;
    const std::vector<float> w = test::random_floats(6 * 8, 1);
    const std::vector<qnt::f16> narrow(w.begin(), w.end());
    qnt::safetensors_writer aligned;
    REQUIRE(aligned.declare("w", qnt::safetensors_dtype::f32, {6, 8}));
    REQUIRE(aligned.declare("narrow", qnt::safetensors_dtype::f16, {6, 8}));
    REQUIRE(aligned.begin(at / "aligned.safetensors"));
    for (const auto& t : aligned.order()) {
        const auto written = t.name == "w" ? aligned.write("w", w) : aligned.write("narrow", narrow);
        REQUIRE(written);
    }
    REQUIRE(aligned.finish());
    write_text(at / "odd.safetensors", test::safetensors_image({test::array_of("w", qnt::safetensors_dtype::f32, {6, 8}, w)}).bytes());
    qnt::gguf_writer gguf;
    REQUIRE(gguf.declare("w", qnt::gguf_type::f32, {6, 8}));
    REQUIRE(gguf.declare("narrow", qnt::gguf_type::f16, {6, 8}));
    REQUIRE(gguf.begin(at / "w.gguf"));
    REQUIRE(gguf.write("w", std::as_bytes(std::span(w))));
    REQUIRE(gguf.write("narrow", std::as_bytes(std::span(narrow))));
    REQUIRE(gguf.finish());

    for (const char* name : {"aligned.safetensors", "odd.safetensors", "w.gguf"})
        for (const auto& file : {qnt::checkpoint_file::open(at / name).value(), qnt::checkpoint_file::load(at / name).value()}) {
            CAPTURE(name);
            const qnt::checkpoint_tensor& t = *file.find("w");
            CHECK(t.in_place.empty() == (name == std::string("odd.safetensors")));
            std::vector<float> space;
            for (int again = 0; again < 2; ++again) {
                const std::span<const float> values = qnt::values_of(t, space).value();
                CHECK(test::same_bits(values, w));
                CHECK(space.empty() == !t.in_place.empty());
                t.forget();  // and they are there again
            }
            CHECK(test::same_bits(t.read().value(), w));
            if (const qnt::checkpoint_tensor* other = file.find("narrow")) CHECK(other->in_place.empty());
        }
}

TEST_CASE("checkpoint_file: an archive gives its codes without loss, and f32 values of any of them") {
    const temp_folder at;
    const auto w = test::random_floats(48 * 96, 1), bias = test::random_floats(48, 2);
    const qnt::matrix_view<const float> view{w.data(), 48, 96};
    const qnt::any_format formats[] = {qnt::use<qnt::nf4<64>>, qnt::use<qnt::int8_channel>, qnt::use<qnt::uint4<32>>, qnt::keep<qnt::f16>};
    std::vector<qnt::any_matrix> matrices;
    qnt::archive_writer out;
    for (const qnt::any_format& f : formats) {
        matrices.push_back(qnt::quantize(view, f).value());
        REQUIRE(out.add(f.name(), matrices.back().view()));
    }
    REQUIRE(out.add("bias", bias));
    REQUIRE(out.finish(at / "a"));  // its content says what it is, not its name

    const qnt::checkpoint tensors = [&] {
        const auto file = qnt::checkpoint_file::open(at / "a").value();
        CHECK(file.as_archive());
        return file.tensors();
    }();  // the tensors outlive the checkpoint_file
    REQUIRE(tensors.size() == 5);
    for (std::size_t i = 0; i < 4; ++i) {
        const qnt::checkpoint_tensor& t = tensors[i];
        CHECK(t.stored_as == formats[i].name());
        CHECK(t.packed_format == formats[i]);
        CHECK_FALSE(t.is_array);
        const auto packed = t.read_packed().value();
        CHECK(packed.bytes().size() == matrices[i].bytes().size());
        CHECK(std::memcmp(packed.bytes().data(), matrices[i].bytes().data(), packed.bytes().size()) == 0);
        std::vector<float> expected(w.size());
        qnt::dequantize(qnt::matrix_view<float>{expected.data(), 48, 96}, matrices[i].view());
        CHECK(test::same_bits(t.read().value(), expected));
    }
    CHECK(tensors[4].is_array);
    CHECK(tensors[4].stored_as == "f32");
    CHECK_FALSE(tensors[4].read_packed);
    CHECK(test::same_bits(tensors[4].read().value(), bias));

    const auto report = qnt::quantize_model(tensors, {{"*", qnt::use<qnt::nf4<64>>}}, at / "b").value();
    CHECK(report.tensors[0].lossless);
    CHECK_FALSE(report.tensors[1].lossless);
}

TEST_CASE("checkpoint_file: GGUF, with the grids of Q8_0 and Q4_0 as int8:32 and int4:32") {
    const temp_folder at;
    const auto w = test::random_floats(48 * 96, 1), bias = test::random_floats(48, 2);
    const qnt::matrix_view<const float> view{w.data(), 48, 96};
    const auto q8 = qnt::quantize(view, qnt::use<qnt::int8_group<32>>).value();
    const auto q4 = qnt::quantize(view, qnt::use<qnt::int4<32>>).value();
    qnt::gguf_writer out;
    REQUIRE(out.declare("a", qnt::gguf_type::q8_0, {48, 96}));
    REQUIRE(out.declare("b", qnt::gguf_type::q4_0, {48, 96}));
    REQUIRE(out.declare("c", qnt::gguf_type::f32, {48}));
    REQUIRE(out.begin(at / "m"));
    REQUIRE(out.write("a", qnt::gguf_encode(q8.view()).value()));
    REQUIRE(out.write("b", qnt::gguf_encode(q4.view()).value()));
    REQUIRE(out.write("c", std::as_bytes(std::span(bias))));
    REQUIRE(out.finish());

    const auto file = qnt::checkpoint_file::open(at / "m").value();
    CHECK(file.as_gguf());
    REQUIRE(file.tensors().size() == 3);
    for (const auto& [t, expected, name] : {std::tuple{file.tensors()[0], &q8, "Q8_0"}, {file.tensors()[1], &q4, "Q4_0"}}) {
        CHECK(t.stored_as == name);
        CHECK(t.shape == std::vector<std::size_t>{48, 96});
        CHECK(t.packed_format == expected->format());
        const auto packed = t.read_packed().value();
        CHECK(std::memcmp(packed.bytes().data(), expected->bytes().data(), expected->bytes().size()) == 0);
        std::vector<float> values(w.size());
        qnt::dequantize(qnt::matrix_view<float>{values.data(), 48, 96}, expected->view());
        CHECK(test::same_bits(t.read().value(), values));
    }
    CHECK(file.tensors()[2].stored_as == "F32");
    CHECK_FALSE(file.tensors()[2].packed_format);
    CHECK(test::same_bits(file.tensors()[2].read().value(), bias));
}

TEST_CASE("checkpoint_file: safetensors in several files") {
    const temp_folder at;
    const auto a = test::random_floats(6, 1), b = test::random_floats(4, 2);
    for (const auto& [name, values, file] :
         {std::tuple{"a", &a, "model-00001-of-00002.safetensors"}, {"b", &b, "model-00002-of-00002.safetensors"}}) {
        std::string head = "{\"" + std::string(name) + "\":{\"dtype\":\"F32\",\"shape\":[" + std::to_string(values->size()) +
                           "],\"data_offsets\":[0," + std::to_string(values->size() * 4) + "]}}";
        const std::uint64_t length = head.size();
        std::string bytes(reinterpret_cast<const char*>(&length), 8);
        bytes += head;
        bytes.append(reinterpret_cast<const char*>(values->data()), values->size() * 4);
        write_text(at / file, bytes);
    }
    write_text(
        at / "model.safetensors.index.json",
        R"({"metadata": {"total_size": 40}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})");
    for (const std::string& path : {at.path.string(), at / "model.safetensors.index.json"}) {
        const auto file = qnt::checkpoint_file::open(path).value();
        REQUIRE(file.tensors().size() == 2);
        CHECK(test::same_bits(file.find("a")->read().value(), a));
        CHECK(test::same_bits(file.find("b")->read().value(), b));
    }
}

TEST_CASE("checkpoint_file: matrices of bitsandbytes are one tensor each, their codes taken over") {
    const temp_folder at;
    const auto w = test::random_floats(48 * 128, 1), bias = test::random_floats(48, 2);
    const qnt::matrix_view<const float> view{w.data(), 48, 128};
    std::vector<qnt::named_array> all;
    const auto add = [&](const char* name, const qnt::bitsandbytes_options& o) {
        auto parts = qnt::write_bitsandbytes(name, view, o).value();
        for (auto& p : parts) all.push_back(std::move(p));
    };
    add("a.weight", {});
    add("b.weight", {.nested = true});
    add("c.weight", {.kind = qnt::bitsandbytes_kind::fp4, .blocksize = 128});
    add("d.weight", {.kind = qnt::bitsandbytes_kind::llm_int8});
    all.push_back({"a.bias", qnt::safetensors_dtype::f32, {48}, {std::as_bytes(std::span(bias)).begin(), std::as_bytes(std::span(bias)).end()}});
    qnt::safetensors_writer out;
    for (const auto& a : all) out.declare(a.name, a.dtype, a.shape).value();
    out.begin(at / "model.safetensors").value();
    for (const auto& t : out.order())
        out.write(t.name, std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.name == t.name; })->bytes).value();
    out.finish().value();

    const auto file = qnt::checkpoint_file::open(at.path.string()).value();
    REQUIRE(file.tensors().size() == 5);
    const auto raw = qnt::safetensors_file::open(at / "model.safetensors").value();
    for (const auto& [name, format, stored_as] : {std::tuple{"a.weight", "nf4:64", "bitsandbytes nf4"},
                                                  {"b.weight", "nf4_dq:64", "bitsandbytes nf4"},
                                                  {"c.weight", "fp4_bnb:128", "bitsandbytes fp4"},
                                                  {"d.weight", "", "bitsandbytes llm_int8"}}) {
        INFO(name);
        const auto* t = file.find(name);
        REQUIRE(t);
        CHECK(t->shape == std::vector<std::size_t>{48, 128});
        CHECK(t->stored_as == stored_as);
        CHECK((t->packed_format ? t->packed_format->name() : "") == format);
        const auto values = t->read().value();
        CHECK(test::same_bits(values, qnt::read_bitsandbytes_f32(raw, name).value()));
        if (!t->packed_format) continue;
        const auto packed = t->read_packed().value();
        std::vector<float> decoded(w.size());
        qnt::dequantize(qnt::matrix_view<float>{decoded.data(), 48, 128}, packed.view());
        CHECK(std::equal(decoded.begin(), decoded.end(), values.begin()));
    }
    CHECK(test::same_bits(file.find("a.bias")->read().value(), bias));
    const auto report = qnt::quantize_model({*file.find("a.weight"), *file.find("d.weight")}, {{"*", qnt::use<qnt::nf4<64>>}}, at / "m.qnt").value();
    CHECK(report.tensors[0].lossless);
    CHECK_FALSE(report.tensors[1].lossless);
}

TEST_CASE("checkpoint_file: bitsandbytes keeps its bits on the way into an archive") {
    const temp_folder at;
    const auto w = test::random_floats(48 * 128, 1);
    for (const bool nested : {false, true}) {
        write_model(at, qnt::write_bitsandbytes("a.weight", {w.data(), 48, 128}, {.nested = nested}).value());
        const auto expected = qnt::read_bitsandbytes_f32(qnt::safetensors_file::open(at / "model.safetensors").value(), "a.weight").value();
        const auto c = convert(at, nested ? "nf4_dq:64" : "nf4:64");
        CHECK(c.plan.lossless);
        CHECK(c.report.lossless);
        CHECK(std::equal(c.weights.begin(), c.weights.end(), expected.begin(), expected.end()));
        CHECK_FALSE(convert(at, "nf4:32").report.lossless);
    }
}

TEST_CASE("checkpoint_file: a matrix of GPTQ is one tensor, which says how its zero points are meant") {
    struct {
        int bits;
        std::size_t rows, cols, group;
        int zero;
        columns order;
        qnt::gptq_convention stored;
        const char* config_name;
        const char* config;
        const char* format;  // that takes the codes over; none: f32 only
        const char* stored_as;
    } const cases[] = {
        {4, 40, 256, 128, 8, columns::in_order, v1, "", "", "int4:128", "GPTQ 4-bit g128 (v1 by its zero points)"},
        {4, 40, 256, 32, 8, columns::shuffled, v2, "", "", "int4:32", "GPTQ 4-bit g32 (v2 by its zero points, act-order)"},
        {4, 40, 256, 64, -1, columns::in_order, v1, "quantize_config.json", R"({"bits": 4, "group_size": 64, "sym": false})", "uint4:64",
         "GPTQ 4-bit g64 (v1 by its config)"},
        {4, 40, 256, 64, -1, columns::shuffled, v2, "config.json",
         R"({"model_type": "x", "quantization_config": {"quant_method": "gptq", "checkpoint_format": "gptq_v2", "bits": 4, "group_size": 64}})",
         "uint4:64", "GPTQ 4-bit g64 (v2 by its config, act-order)"},
        {4, 40, 256, 128, 8, columns::in_order, v2, "config.json", R"({"quantization_config": {"bits": 4, "checkpoint_format": "gptq"}})", "int4:128",
         "GPTQ 4-bit g128 (v2 by its zero points, its config says v1)"},
        {3, 40, 96, 32, -1, columns::in_order, v1, "quantize_config.json", R"({"bits": 3, "group_size": 32})", "uint4:32",
         "GPTQ 3-bit g32 (v1 by its config)"},
        {2, 40, 64, 64, 2, columns::in_order, v1, "quantize_config.json", R"({"bits": 2, "group_size": -1})", "uint4:64",
         "GPTQ 2-bit g64 (v1 by its zero points)"},
        {8, 40, 64, 32, 128, columns::in_order, v1, "", "", "int8:32", "GPTQ 8-bit g32 (v1 by its zero points)"},
        {8, 40, 64, 32, 128, columns::shuffled, v1, "", "", "int8:32", "GPTQ 8-bit g32 (v1 by its zero points, act-order)"},
        {4, 40, 64, 8, 8, columns::in_order, v1, "", "", nullptr, "GPTQ 4-bit g8 (v1 by its zero points)"},
    };
    for (const auto& k : cases) {
        INFO(k.stored_as);
        const temp_folder at;
        const auto c = test::gptq::make(k.bits, k.rows, k.cols, k.group, k.zero, k.order);
        auto all = c.tensors(k.stored, "a");
        const auto bias = test::random_floats(k.rows, 3);
        all.push_back(test::array_of("a.bias", qnt::safetensors_dtype::f32, {k.rows}, bias));
        write_model(at, all, k.config_name, k.config);
        const auto file = qnt::checkpoint_file::open(at.path.string()).value();
        REQUIRE(file.tensors().size() == 3);
        CHECK(test::same_bits(file.find("a.bias")->read().value(), bias));
        REQUIRE(file.find("a.weight"));
        const qnt::checkpoint_tensor& t = *file.find("a.weight");
        CHECK(t.shape == std::vector<std::size_t>{k.rows, k.cols});
        CHECK(t.stored_as == k.stored_as);
        CHECK(t.parts == std::vector<std::string>{"a.qweight", "a.qzeros", "a.scales", "a.g_idx"});
        CHECK(test::same_bits(t.read().value(), c.expected()));
        REQUIRE(t.packed_format.has_value() == (k.format != nullptr));
        const auto as_nf4 = convert(at, "nf4:64");
        CHECK_FALSE(as_nf4.report.lossless);
        CHECK(as_nf4.report.report.sqnr_db > 15);
        if (!k.format) continue;
        CHECK(t.packed_format->name() == k.format);
        CHECK((t.packed_transform == qnt::input_transform::permutation) == (k.order == columns::shuffled));
        CHECK(test::same_bits(decoded(t.read_packed().value()), c.expected()));
        const auto same = convert(at, k.format);
        CHECK(same.plan.lossless);
        CHECK(same.report.lossless);
        CHECK(same.report.transform == t.packed_transform);
        CHECK(test::same_bits(same.weights, c.expected()));
    }
}

TEST_CASE("checkpoint_file: a matrix of AWQ is one tensor") {
    struct {
        std::size_t group;
        int zero;
        const char *config_name, *config, *format;
    } const cases[] = {
        {128, -1, "", "", "uint4:128"},
        {32, 8, "quant_config.json", R"({"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "GEMM"})", "int4:32"},
        {64, -1, "config.json", R"({"quantization_config": {"quant_method": "AWQ", "bits": 4, "group_size": 64, "version": "gemm"}})", "uint4:64"},
        {8, 8, "", "", nullptr}};
    for (const auto& k : cases) {
        INFO(k.group);
        const temp_folder at;
        const auto c = test::awq::make(40, 128, k.group, k.zero);
        write_model(at, c.tensors("a"), k.config_name, k.config);
        for (const std::string& path : {at.path.string(), at / "model.safetensors"}) {
            const auto file = qnt::checkpoint_file::open(path).value();
            REQUIRE(file.tensors().size() == 2);
            REQUIRE(file.find("a.weight"));
            const qnt::checkpoint_tensor& t = *file.find("a.weight");
            CHECK(t.shape == std::vector<std::size_t>{40, 128});
            CHECK(t.stored_as == "AWQ 4-bit g" + std::to_string(k.group));
            CHECK(test::same_bits(t.read().value(), c.expected()));
            CHECK((t.packed_format ? t.packed_format->name() : "") == std::string(k.format ? k.format : ""));
        }
        if (!k.format) continue;
        const auto same = convert(at, k.format);
        CHECK(same.plan.lossless);
        CHECK(same.report.lossless);
        CHECK(test::same_bits(same.weights, c.expected()));
        CHECK_FALSE(convert(at, "int8_channel").report.lossless);
    }
}

TEST_CASE("checkpoint_file: GPTQ's codes of 8 bits that int8 has not are quantized, and the report says so") {
    const temp_folder at;
    for (const auto order : {columns::in_order, columns::shuffled}) {
        auto c = test::gptq::make(8, 40, 64, 32, 128, order);
        c.codes[7][5] = 0;  // -128
        write_model(at, c.tensors(v1, "a"));
        const auto r = convert(at, "int8:32");
        CHECK(r.plan.lossless == (order == columns::in_order));  // columns that are to be permuted are looked at
        CHECK(r.plan.transform == qnt::input_transform::none);
        CHECK_FALSE(r.report.lossless);
        CHECK(r.report.format == r.plan.format);
        CHECK(r.report.report.bytes == r.plan.report.bytes);
        CHECK(std::isfinite(r.report.report.sqnr_db));
        CHECK(r.report.report.sqnr_db > 35);
        const qnt::checkpoint in{*qnt::checkpoint_file::open(at.path.string()).value().find("a.weight")};
        const auto strict = qnt::quantize_model(in, {{"*", qnt::use<qnt::int8_group<32>>}}, at / "strict.qnt", {.strict = true});
        CHECK(strict.has_value() == (order == columns::shuffled));  // nothing was promised
        if (!strict) CHECK(contains(strict.error().message, "output 7, column 5: code 0 less its zero point is -128"));
    }
}

TEST_CASE("checkpoint_file: GPTQ and AWQ in several files, each matrix in one of them") {
    const temp_folder at;
    const auto a = test::gptq::make(4, 40, 256, 32, 8), b = test::gptq::make(4, 24, 128, 32, 8, columns::shuffled, 2);
    auto first = a.tensors(v1, "a"), second = b.tensors(v1, "b");
    const auto write = [&] {
        std::string map;
        const auto write_shard = [&](const char* name, const std::vector<qnt::named_array>& tensors) {
            // The builder's own tensor would be in both.
            std::string bytes = test::safetensors_image(tensors).bytes();
            bytes.replace(bytes.find("odd"), 3, std::string("od") + name[0]);
            write_text(at / name, bytes);
            map += (map.empty() ? "" : ",") + ("\"od" + std::string(1, name[0])) + "\":\"" + name + '"';
            for (const auto& t : tensors) map += ",\"" + t.name + "\":\"" + name + '"';
        };
        write_shard("1.safetensors", first);
        write_shard("2.safetensors", second);
        write_text(at / "model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
    };
    write();
    const auto file = qnt::checkpoint_file::open(at.path.string()).value();
    REQUIRE(file.tensors().size() == 4);
    CHECK(test::same_bits(file.find("a.weight")->read().value(), a.expected()));
    CHECK(test::same_bits(file.find("b.weight")->read().value(), b.expected()));

    std::swap(test::part(first, "a.scales"), test::part(second, "b.scales"));
    write();
    CHECK(contains(message_of(at.path.string()), "1.safetensors: tensor \"a.qweight\": \"a.scales\" is in another shard, "));
    CHECK(contains(message_of(at.path.string()), "2.safetensors: a matrix that is spread over several cannot be read"));
}

TEST_CASE("checkpoint_file: what contradicts or is missing in GPTQ and AWQ is named") {
    const temp_folder at;
    const std::string file = at / "model.safetensors";
    const auto gptq = test::gptq::make(4, 40, 256, 64, -1).tensors(v1, "a"), awq = test::awq::make(40, 128, 32).tensors("a");
    const auto refusal = [&](std::vector<qnt::named_array> tensors, const char* config_name, const char* config, auto&& damage) {
        damage(tensors);
        write_model(at, tensors, config_name, config);
        const std::string m = message_of(at.path.string());
        INFO(m);
        CHECK(m.find(at.path.string()) == 0);
        return m;
    };
    const auto none = [](auto&) {};
    const auto without = [](const char* name) { return [=](auto& all) { std::erase_if(all, [&](const auto& t) { return t.name == name; }); }; };
    const char* const config = R"({"bits": 4, "group_size": 64})";
    for (const auto* tensors : {&gptq, &awq})
        for (const char* name : {"a.qweight", "a.qzeros", "a.scales"})
            CHECK(contains(refusal(*tensors, "", "", without(name)), "tensor \"" + std::string(name) + "\": is missing"));
    const std::string unknown = refusal(gptq, "", "", none);  // asymmetric: the values do not tell
    CHECK(contains(unknown, "tensor \"a.qzeros\": these are not the zero points of a symmetric matrix"));
    CHECK(contains(unknown, "there is no quantize_config.json and no config.json with \"quantization_config\" in \""));
    CHECK(contains(refusal(gptq, "config.json", R"({"model_type": "llama"})", none), "there is no quantize_config.json"));

    CHECK(contains(refusal(gptq, "quant_config.json", R"({"w_bit": 4})", none),
                   "tensor \"a.qweight\": shape [32,40] with scales [4,40] is one of GPTQ, "));
    CHECK(contains(refusal(awq, "quantize_config.json", config, none), "quantize_config.json: field \"quant_method\" says GPTQ"));
    CHECK(contains(refusal(gptq, "quantize_config.json", R"({"bits": 8})", none), "fits no 8 bits"));
    CHECK(contains(refusal(gptq, "quantize_config.json", R"({"bits": 4, "group_size": 128})", none),
                   "\"a.qzeros\": 4 groups for 256 inputs, " + at / "quantize_config.json: field \"group_size\" says groups of 128"));
    CHECK(contains(refusal(awq, "quant_config.json", R"({"q_group_size": 64})", none), "\"a.qzeros\": 4 groups for 128 inputs"));
    CHECK(contains(refusal(awq, "quant_config.json", R"({"version": "gemv"})", none), "quant_config.json: field \"version\": \"gemv\" cannot"));
    CHECK(contains(refusal(gptq, "quantize_config.json", R"({"format": "marlin"})", none), "quantize_config.json: field \"format\": \"marlin\""));
    CHECK(contains(refusal(gptq, "quantize_config.json", R"({"bits": 4)", none), "quantize_config.json: JSON, byte offset"));
    CHECK(contains(refusal(gptq, "config.json", R"({"quantization_config": {"quant_method": 4}})", none), "field \"quant_method\": JSON"));
    CHECK(contains(refusal(gptq, "config.json", "{", none), "config.json: JSON"));

    CHECK(contains(refusal(gptq, "quantize_config.json", config,
                           [](auto& t) {
                               test::part(t, "a.scales").shape = {2, 80};
                           }),
                   "\"a.scales\": shape [2,80], must be [4,40]"));
    CHECK(contains(refusal(gptq, "", "", [](auto& t) { test::part(t, "a.scales").shape = {2, 80}; }), "is neither of GPTQ, "));
    CHECK(contains(refusal(awq, "", "", [](auto& t) { test::part(t, "a.qzeros").shape = {2, 10}; }), "\"a.qzeros\": shape [2,10] does not fit"));
    CHECK(contains(refusal(gptq, "quantize_config.json", config, [](auto& t) { test::set(test::part(t, "a.g_idx"), 9, 4); }),
                   "\"a.g_idx\": element 9"));
    CHECK(contains(refusal(awq, "", "", [](auto& t) { test::set(test::part(t, "a.scales"), 3, std::uint16_t(0x7c00)); }), "\"a.scales\": element 3"));
    CHECK(contains(refusal(awq, "", "", [](auto& t) { t.push_back(test::array_of<float>("a.weight", qnt::safetensors_dtype::f32, {1}, {1})); }),
                   "tensor \"a.weight\": is there twice"));
}

TEST_CASE("checkpoint_file: words of other systems are what they are") {
    const temp_folder at;
    write_model(at, test::gptq::make(4, 40, 256, 64, -1).tensors(v1, "a"), "config.json", R"({"quantization_config": {"quant_method": "hqq"}})");
    const auto file = qnt::checkpoint_file::open(at.path.string()).value();
    CHECK(file.tensors().size() == 5);
    REQUIRE(file.find("a.qweight"));
    CHECK(file.find("a.qweight")->stored_as == "I32");
    CHECK_FALSE(file.find("a.qweight")->read());
}

TEST_CASE("checkpoint_file: what is none says what is missing") {
    const temp_folder at;
    CHECK(message_of(at.path.string()).find("model.safetensors") != std::string::npos);
    CHECK(message_of(at / "nothing").find("nothing: cannot open: No such file") != std::string::npos);
    std::ofstream(at / "empty");
    CHECK(message_of(at / "empty").find("truncated") != std::string::npos);
    std::ofstream(at / "pickle") << std::string("\x80\x02}q\0......................", 26);
    CHECK(message_of(at / "pickle").find("begins like a Python pickle") != std::string::npos);
    std::ofstream(at / "cut.qnt") << "\x89QNT\r\n\x1a\n";
    CHECK(message_of(at / "cut.qnt").find("cut.qnt: ") != std::string::npos);
    write_text(at / "cut.gguf", "GGUF");
    CHECK(message_of(at / "cut.gguf").find("cut.gguf: ") != std::string::npos);
    CHECK_FALSE(qnt::checkpoint_file::open("/dev/zero"));
    CHECK_FALSE(qnt::checkpoint_file::open(std::string("a\0b", 3)));
}
