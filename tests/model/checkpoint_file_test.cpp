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
        CHECK(fs::path(file.path()).filename() == "model.safetensors");
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

TEST_CASE("checkpoint_file: what is none says what is missing") {
    const temp_folder at;
    CHECK(message_of(at.path.string()).find("no model.safetensors in this folder") != std::string::npos);
    CHECK(message_of(at / "nothing").find("nothing: cannot open: No such file") != std::string::npos);
    std::ofstream(at / "empty");
    CHECK(message_of(at / "empty").find("truncated") != std::string::npos);
    std::ofstream(at / "pickle") << std::string("\x80\x02}q\0......................", 26);
    CHECK(message_of(at / "pickle").find("begins like a Python pickle") != std::string::npos);
    std::ofstream(at / "cut.qnt") << "\x89QNT\r\n\x1a\n";
    CHECK(message_of(at / "cut.qnt").find("cut.qnt: ") != std::string::npos);
    CHECK_FALSE(qnt::checkpoint_file::open("/dev/zero"));
    CHECK_FALSE(qnt::checkpoint_file::open(std::string("a\0b", 3)));
}
