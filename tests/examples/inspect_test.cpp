// qnt-inspect, run as a program.
#include <qnt/qnt.hpp>

#include <nlohmann/json.hpp>

#include "io/awq_builder.hpp"
#include "io/gptq_builder.hpp"
#include "programs.hpp"

namespace {

const std::string model = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

outcome inspect(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), QNT_INSPECT);
    return run(std::move(arguments));
}

nlohmann::json json_of(const std::string& path) {
    const outcome o = inspect({"--json", "--verify", path});
    INFO(o.err);
    REQUIRE(o.exit_code == 0);
    CHECK(o.err.empty());
    return nlohmann::json::parse(o.out);
}

// One line that begins as it should.
std::string safetensors(const std::string& header, const std::string& data) {
    const std::uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

}  // namespace

TEST_CASE("qnt-inspect shows safetensors as the library reads them") {
    const auto file = qnt::safetensors_file::open(model + "/model.safetensors").value();
    const nlohmann::json j = json_of(model + "/model.safetensors");
    CHECK(j["format"] == "safetensors");
    CHECK(j["verified"] == true);
    CHECK(j["bytes"] == std::filesystem::file_size(model + "/model.safetensors"));
    CHECK(j["metadata"]["format"] == "pt");
    REQUIRE(j["tensors"].size() == file.tensors().size());
    std::size_t bytes = 0, elements = 0;
    for (std::size_t i = 0; i < file.tensors().size(); ++i) {
        const qnt::safetensors_tensor& t = file.tensors()[i];
        CHECK(j["tensors"][i]["name"] == t.name);
        CHECK(j["tensors"][i]["shape"] == t.shape);
        CHECK(j["tensors"][i]["format"] == "F16");
        CHECK(j["tensors"][i]["bytes"] == t.data.size());
        CHECK(j["tensors"][i]["bits_per_weight"] == 16);
        bytes += t.data.size();
        elements += t.elements;
    }
    CHECK(j["totals"] == nlohmann::json{{"tensors", file.tensors().size()}, {"elements", elements}, {"bytes", bytes}, {"effective_bits", 16}});
    const outcome text = inspect({model + "/model.safetensors"});
    CHECK(text.exit_code == 0);
    CHECK(contains(text.out, "transformer.h.0.mlp.c_fc.weight     [256, 1024]  F16       524288        16.00\n"));
}

TEST_CASE("qnt-inspect shows an archive, and --verify finds a flipped bit") {
    temp_folder folder;
    const std::vector<float> values(48 * 64, 0.5f), bias{1, 2, 3};
    qnt::archive_writer out;
    out.add("w", qnt::quantize(qnt::matrix_view<const float>{values.data(), 48, 64}, qnt::any_format::parse("nf4:64").value()).value()).value();
    out.add("b", std::span<const float>(bias)).value();
    out.set_metadata("source", std::string(5000, 'x')).value();
    const std::string path = folder / "m.qnt";
    out.finish(path).value();

    const nlohmann::json j = json_of(path);
    CHECK(j["format"] == "qnt");
    CHECK(j["metadata"]["source"] == std::string(1000, 'x') + "...");
    REQUIRE(j["tensors"].size() == 2);
    CHECK(j["tensors"][0]["format"] == "nf4:64");
    CHECK(j["tensors"][0]["shape"] == std::vector<std::size_t>{48, 64});
    CHECK(j["tensors"][0]["bytes"] == 48 * 64 / 2 + 48 * 4);
    CHECK(j["tensors"][0]["bits_per_weight"] == 4.5);
    CHECK(j["tensors"][1]["format"] == "f32");

    std::string bytes = text_of(path);
    bytes[bytes.size() - 1000] = char(bytes[bytes.size() - 1000] ^ 4);
    write_text(path, bytes);
    CHECK(inspect({path}).exit_code == 0);
    check_refused(inspect({"--verify", path}), 1, "the checksum of MiB 0");
    check_refused(inspect({"--verify", path}), 1, "qnt-inspect: " + path + ": ");
}

TEST_CASE("qnt-inspect shows GGUF and NumPy files, and a folder with all that a GPT-2 needs") {
    temp_folder folder;
    std::vector<float> values(4 * 64);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = float(i % 13) - 6;
    const std::string gguf = folder / "a.gguf", npy = folder / "a.npy";
    qnt::gguf_writer out;
    out.set("general.architecture", "x\x1b[2J").value();
    out.set("x.epsilon", 1e-5f).value();
    out.set("x.tokens", std::vector<std::string>{"a", "b"}).value();
    out.declare("w", qnt::gguf_type::q4_0, {4, 64}).value();
    out.begin(gguf).value();
    out.write("w", qnt::gguf_encode(qnt::gguf_type::q4_0, values).value()).value();
    out.finish().value();
    nlohmann::json j = json_of(gguf);
    CHECK(j["format"] == "gguf");
    CHECK(j["version"] == "3");
    CHECK(j["metadata"]["general.architecture"] == "x\x1b[2J");
    CHECK(j["metadata"]["x.epsilon"] == "1e-05");
    CHECK(j["metadata"]["x.tokens"] == "[2 x string]");
    CHECK(j["tensors"][0] ==
          nlohmann::json{{"name", "w"}, {"shape", {4, 64}}, {"format", "Q4_0"}, {"elements", 256}, {"bytes", 144}, {"bits_per_weight", 4.5}});
    std::string bytes = text_of(gguf);
    const std::vector<std::byte> blocks = qnt::gguf_encode(qnt::gguf_type::q4_0, values).value();
    bytes[bytes.find(std::string(reinterpret_cast<const char*>(blocks.data()), blocks.size())) + 5 * 18 + 1] =
        0x7c;  // the scale of block 5: infinite
    write_text(gguf, bytes);
    CHECK(inspect({gguf}).exit_code == 0);
    check_refused(inspect({"--verify", gguf}), 1, "tensor \"w\": block 5: element 160 is not a finite number");

    qnt::write_npy(npy, std::span<const float>(values), {4, 64}).value();
    j = json_of(npy);
    CHECK(j["format"] == "npy");
    CHECK(j["tensors"][0]["format"] == "<f4");
    CHECK(j["tensors"][0]["bytes"] == 1024);
    values[200] = std::numeric_limits<float>::infinity();
    qnt::write_npy(npy, std::span<const float>(values), {4, 64}).value();
    check_refused(inspect({"--verify", npy}), 1, "a.npy: element 200 is not a finite number");

    j = json_of(model);
    CHECK(j["facts"]["n_embd"] == "256");
    CHECK(j["tensors"].size() == 52);
    CHECK(json_of(model + "/config.json")["facts"]["n_layer"] == "4");
    CHECK(json_of(model + "/merges.txt")["facts"]["tokens"] == "8192");
    for (const char* file : {"config.json", "vocab.json", "merges.txt", "model.safetensors"})
        std::filesystem::copy_file(model + "/" + file, folder / file);
    std::filesystem::remove(gguf);
    CHECK(inspect({folder.path.string()}).exit_code == 0);
    write_text(folder / "merges.txt", "a b c\n");
    check_refused(inspect({folder.path.string()}), 1, "merges.txt: line 1");
    std::filesystem::remove(folder / "config.json");
    check_refused(inspect({folder.path.string()}), 1, "no config.json");
}

TEST_CASE("qnt-inspect shows matrices of GPTQ and AWQ, and how their zero points are meant") {
    temp_folder folder;
    const std::string path = folder / "model.safetensors";
    const auto gptq = test::gptq::make(4, 40, 256, 64, -1, test::gptq::columns::shuffled).tensors(qnt::gptq_convention::v2, "a");
    write_text(path, test::safetensors_image(gptq).bytes());
    nlohmann::json j = json_of(path);  // nothing tells v1 from v2: as stored
    CHECK(j["tensors"].size() == 5);
    CHECK(contains(j["facts"]["shown as stored"].get<std::string>(), "tensor \"a.qzeros\": these are not the zero points of a symmetric matrix"));
    check_refused(inspect({"--verify", folder.path.string()}), 1, "no config.json");

    write_text(folder / "config.json", R"({"model_type": "x", "quantization_config": {"quant_method": "gptq", "checkpoint_format": "gptq_v2"}})");
    for (const std::string& shown : {path, folder.path.string()}) {
        const outcome o = inspect({"--json", shown});
        INFO(o.err);
        REQUIRE(o.exit_code == 0);
        j = nlohmann::json::parse(o.out);
        REQUIRE(j["tensors"].size() == 2);
        const std::size_t bytes = 40 * 256 / 2 + 4 * 40 / 2 + 4 * 40 * 2 + 256 * 4;  // codes, zero points, scales, groups of columns
        CHECK(j["tensors"][1] == nlohmann::json{{"name", "a.weight"},
                                                {"shape", {40, 256}},
                                                {"format", "GPTQ 4-bit g64 (v2 by its config, act-order)"},
                                                {"elements", 40 * 256},
                                                {"bytes", bytes},
                                                {"bits_per_weight", 8.0 * double(bytes) / (40 * 256)}});
        CHECK(j["facts"].empty());
    }
    CHECK(json_of(path)["verified"] == true);
    write_text(folder / "config.json", R"({"quantization_config": {"quant_method": "awq"}})");
    check_refused(inspect({path}), 1, "tensor \"a.qweight\": shape [32,40] with scales [4,40] is one of GPTQ");
    std::filesystem::remove(folder / "config.json");
    write_text(path, test::safetensors_image(test::awq::make(40, 256, 64).tensors("a")).bytes());
    CHECK(json_of(path)["tensors"][1]["format"] == "AWQ 4-bit g64");
}

TEST_CASE("qnt-inspect refuses what is not sound with one line, exit 1; wrong usage is exit 2") {
    temp_folder folder;
    const std::string path = folder / "a.safetensors";
    write_text(path, safetensors(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", std::string("\0\0\0\0\0\0\x80\x7f", 8)));
    CHECK(inspect({path}).exit_code == 0);
    check_refused(inspect({"--verify", path}), 1, path + ": tensor \"x\": element 1 is not a finite number");
    write_text(path, safetensors(R"({"x":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", std::string(8, '\0')));
    CHECK(inspect({path}).exit_code == 0);
    check_refused(inspect({"--verify", path}), 1, "dtype \"F31\" is unknown");
    write_text(path, "PK\3\4 zip");
    check_refused(inspect({path}), 1, "length");
    write_text(folder / "b", "nothing that is known");
    check_refused(inspect({folder / "b"}), 1, "neither its name nor its first bytes");
    check_refused(inspect({folder / "absent.qnt"}), 1, "absent.qnt: cannot open: No such file or directory");
    check_refused(inspect({}), 2, "FILE");
    check_refused(inspect({path, "--what"}), 2, "--what");
    check_refused(inspect({folder / "a\x1b[31m\n.safetensors"}), 1, "a\\x1b[31m\\x0a.safetensors: cannot open");
}

TEST_CASE("no control byte of a name reaches the terminal") {
    temp_folder folder;
    const std::string path = folder / "a.safetensors";
    write_text(
        path,
        safetensors(R"({"__metadata__":{"k\u001b]0;x\u0007":"v\u009b31m\n"},"\u001b[2Jx\u007f":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                    std::string(4, '\0')));
    for (const outcome& o : {inspect({path}), inspect({"--json", path})}) {
        CHECK(o.exit_code == 0);
        CHECK(std::none_of(o.out.begin(), o.out.end(), [](char c) { return (c < ' ' && c != '\n') || c == '\x7f' || c == '\x9b'; }));
        CHECK(contains(o.out, "[2Jx"));
    }
    CHECK(json_of(path)["tensors"][0]["name"] == "\x1b[2Jx\x7f");
}
