// Files of weights as one checkpoint: the numbers are those of each file's own reader.
#include <qnt/qnt.hpp>

#include <filesystem>
#include <fstream>

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
