// qnt-quantize, run as a program: what it writes against direct calls of the library.
#include <gpt2/gguf.hpp>
#include <gpt2/load.hpp>

#include <nlohmann/json.hpp>

#include "io/awq_builder.hpp"
#include "io/gptq_builder.hpp"
#include "programs.hpp"

namespace {

const std::string model = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

outcome quantize(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), QNT_QUANTIZE);
    return run(std::move(arguments));
}

// Its report; plan and result must agree on everything but the errors.
nlohmann::json convert(const std::string& in, const std::string& out, std::vector<std::string> how) {
    std::vector<std::string> arguments{in, out, "--json", "-"};
    arguments.insert(arguments.end(), how.begin(), how.end());
    std::vector<std::string> plan_arguments = arguments;
    plan_arguments.push_back("--plan");
    const outcome planned = quantize(plan_arguments);
    INFO(planned.err);
    REQUIRE(planned.exit_code == 0);
    REQUIRE_FALSE(std::filesystem::exists(out));
    const outcome done = quantize(arguments);
    INFO(done.err);
    REQUIRE(done.exit_code == 0);
    CHECK(done.err.empty());  // no progress where no terminal is
    nlohmann::json plan = nlohmann::json::parse(planned.out), report = nlohmann::json::parse(done.out);
    CHECK(plan["written"] == false);
    CHECK(report["written"] == true);
    nlohmann::json same = report;
    same["written"] = false;
    for (nlohmann::json& t : same["tensors"]) t["errors"] = nullptr;
    CHECK(plan == same);
    return report;
}

struct gpt2_source {
    qnt::checkpoint_file file = qnt::checkpoint_file::open(model).value();
    qnt::checkpoint tensors = gpt2::checkpoint_of(file, gpt2::config_of(file));

    // [out, in] of matrices
    static std::vector<float> values_of(const qnt::checkpoint_tensor& t) {
        const std::vector<float> v = t.read().value();
        if (!t.transposed) return v;
        std::vector<float> out(v.size());
        for (std::size_t r = 0; r < t.shape[0]; ++r)
            for (std::size_t c = 0; c < t.shape[1]; ++c) out[c * t.shape[0] + r] = v[r * t.shape[1] + c];
        return out;
    }
    static std::size_t cols_of(const qnt::checkpoint_tensor& t) { return t.shape[!t.transposed]; }
};

qnt::matrix_view<const float> matrix_of(const std::vector<float>& v, std::size_t cols) { return {v.data(), v.size() / cols, cols}; }

// A safetensors file of f32 matrices.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, std::vector<float>>>& tensors, std::size_t cols) {
    qnt::safetensors_writer out;
    for (const auto& [name, v] : tensors) out.declare(name, qnt::safetensors_dtype::f32, {v.size() / cols, cols}).value();
    out.begin(path).value();
    for (const qnt::safetensors_tensor& t : out.order())
        for (const auto& [name, v] : tensors)
            if (name == t.name) out.write(name, std::span<const float>(v)).value();
    out.finish().value();
}

void write_model(const std::string& path, std::vector<qnt::named_array> tensors) {
    qnt::safetensors_writer out;
    for (const qnt::named_array& t : tensors) out.declare(t.name, t.dtype, t.shape).value();
    out.begin(path).value();
    for (const qnt::safetensors_tensor& t : out.order()) out.write(t.name, test::part(tensors, t.name).bytes).value();
    out.finish().value();
}

// 64 matrices of zeros, 1 GiB that takes no room on the disk: work for about a second.
void write_large(const std::string& path) {
    std::string header = "{";
    for (std::size_t i = 0; i < 64; ++i)
        header += (i ? ",\"t" : "\"t") + std::to_string(i) + R"(.weight":{"dtype":"F32","shape":[2048,2048],"data_offsets":[)" +
                  std::to_string(i << 24) + "," + std::to_string((i + 1) << 24) + "]}";
    header += "}";
    const std::uint64_t length = header.size();
    write_text(path, std::string(reinterpret_cast<const char*>(&length), 8) + header);
    std::filesystem::resize_file(path, 8 + header.size() + (std::size_t{64} << 24));
}

bool has_temporary(const temp_folder& folder) {
    for (const auto& e : std::filesystem::directory_iterator(folder.path))
        if (e.path().filename().string().starts_with(".qnt-tmp-")) return true;
    return false;
}

}  // namespace

TEST_CASE("qnt-quantize to .qnt: the bytes of quantize(), configuration and tokenizer with them, and a model that runs") {
    temp_folder folder;
    write_text(folder / "policy.json", R"([["wte", "int8_channel"], ["h.0.*", "f16"], ["*", "nf4:64"]])");
    const nlohmann::json report = convert(model, folder / "m.qnt", {"--policy", folder / "policy.json"});
    const qnt::policy policy{{"wte", qnt::use<qnt::int8_channel>}, {"h.0.*", qnt::keep<qnt::f16>}, {"*", qnt::use<qnt::nf4<64>>}};
    const gpt2_source source;
    const auto file = qnt::archive::map(folder / "m.qnt").value();
    REQUIRE(file.verify());
    REQUIRE(file.tensors().size() == source.tensors.size());
    REQUIRE(report["tensors"].size() == source.tensors.size());
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < source.tensors.size(); ++i) {
        const qnt::checkpoint_tensor& t = source.tensors[i];
        const qnt::archive_tensor& written = file.tensors()[i];
        const nlohmann::json& r = report["tensors"][i];
        INFO(t.name);
        CHECK(written.name == t.name);
        CHECK(r["name"] == t.name);
        CHECK(r["from"] == "F16");
        CHECK(r["to"] == written.format.name());
        CHECK(r["shape"] == written.shape);
        CHECK(r["bytes"] == written.data.size());
        bytes += written.data.size();
        const std::vector<float> values = gpt2_source::values_of(t);
        if (t.is_array || t.shape.size() != 2) {
            CHECK(r["kept"] == true);
            CHECK(r["errors"] == nullptr);
            CHECK(file.read_f32(t.name).value() == values);
            continue;
        }
        qnt::quantization_report expected;
        const auto w = qnt::quantize(matrix_of(values, gpt2_source::cols_of(t)), policy.format_for(t.name).value(), {.report = &expected}).value();
        CHECK(std::ranges::equal(w.bytes().first(written.data.size()), written.data));
        if (written.format.info.is_dense()) CHECK(r["errors"]["sqnr_db"] == nullptr);  // f16 as it was: no error
        else CHECK(r["errors"]["sqnr_db"] == expected.sqnr_db);
        CHECK(r["errors"]["worst_row"] == expected.worst.row);
        CHECK(r["errors"]["mse"] == expected.mse);
    }
    CHECK(report["totals"]["bytes"] == bytes);
    CHECK(report["totals"]["elements"] == 5387776);
    CHECK(report["policy"] == nlohmann::json::parse(text_of(folder / "policy.json")));

    CHECK(gpt2::parse_config(*gpt2::metadata_of(file, "config.json"), "").n_layer == 4);
    CHECK(gpt2::tokenizer_of(file, "").tokens == gpt2::read_tokenizer(model).tokens);
    CHECK(*gpt2::metadata_of(file, "source") == "qnt-gpt2-5m");
    CHECK(*gpt2::metadata_of(file, "source_format") == "safetensors");
    CHECK_FALSE(contains(text_of(folder / "m.qnt"), folder.path.string()));
    CHECK_FALSE(contains(text_of(folder / "m.qnt"), std::filesystem::current_path().string()));
    CHECK(gpt2::load_model(folder / "m.qnt", {}, {}).parameters() == 5387776);
}

TEST_CASE("qnt-quantize to .gguf: ggml's blocks, names and metadata; codes on the same grid come back without loss") {
    temp_folder folder;
    const gpt2_source source;
    for (const auto& [format, type] :
         {std::pair{"int4:32", qnt::gguf_type::q4_0}, {"q4_1", qnt::gguf_type::q4_1}, {"q8_0", qnt::gguf_type::q8_0}, {"f16", qnt::gguf_type::f16}}) {
        INFO(format);
        const std::string path = folder / (std::to_string(int(type)) + ".gguf");
        const nlohmann::json report = convert(model, path, {"--format", format});
        const auto file = qnt::gguf_file::open(path).value();
        REQUIRE(file.tensors().size() == source.tensors.size());
        for (std::size_t i = 0; i < source.tensors.size(); ++i) {
            const qnt::checkpoint_tensor& t = source.tensors[i];
            const qnt::gguf_tensor& written = *file.find(gpt2::gguf_name(t.name)).value();
            const nlohmann::json& r = report["tensors"][i];
            INFO(t.name);
            CHECK(r["name"] == written.name);
            CHECK(r["shape"] == written.shape);
            CHECK(r["bytes"] == written.data.size());
            const std::vector<float> values = gpt2_source::values_of(t);
            if (t.shape.size() == 1) CHECK(written.type == std::uint32_t(qnt::gguf_type::f32));
            if (t.is_array) {
                CHECK(file.read_f32(written.name).value() == values);
                continue;
            }
            REQUIRE(written.type == std::uint32_t(type));
            CHECK(std::ranges::equal(qnt::gguf_encode(type, values).value(), written.data));
            const std::vector<float> back = file.read_f32(written.name).value();
            const qnt::error_stats e = qnt::error_of(matrix_of(values, written.shape[1]), matrix_of(back, written.shape[1]));
            if (type != qnt::gguf_type::f16) CHECK(r["errors"]["sqnr_db"].get<double>() == Approx(e.sqnr_db).epsilon(1e-12));
            CHECK(r["errors"]["worst_row"] == e.worst.row);
            CHECK(r["errors"]["max_abs"] == e.max_abs.error);
        }
        CHECK(gpt2::config_of(file, path).n_embd == 256);
        CHECK(gpt2::tokenizer_of(file, path).tokens == gpt2::read_tokenizer(model).tokens);
    }
    const nlohmann::json to_qnt = convert(folder / "8.gguf", folder / "b.qnt", {"--format", "int8:32"});
    const nlohmann::json back = convert(folder / "b.qnt", folder / "c.gguf", {"--format", "q8_0"});
    for (const nlohmann::json* report : {&to_qnt, &back})
        for (const nlohmann::json& t : (*report)["tensors"]) CHECK(t["lossless"] == !t["kept"]);
    const auto a = qnt::gguf_file::open(folder / "8.gguf").value(), b = qnt::gguf_file::open(folder / "c.gguf").value();
    for (const qnt::gguf_tensor& t : a.tensors()) CHECK(std::ranges::equal(t.data, b.find(t.name).value()->data));
}

TEST_CASE("qnt-quantize to .safetensors: the tensors of write_bitsandbytes(), errors as its reader sees them") {
    temp_folder folder;
    const gpt2_source source;
    using kind = qnt::bitsandbytes_kind;
    const std::pair<std::string, qnt::bitsandbytes_options> cases[] = {{"nf4:64", {.kind = kind::nf4}},
                                                                       {"nf4_dq:128", {.kind = kind::nf4, .blocksize = 128, .nested = true}},
                                                                       {"fp4", {.kind = kind::fp4}},
                                                                       {"int8_channel", {.kind = kind::llm_int8}}};
    for (const auto& [format, options] : cases) {
        INFO(format);
        const std::string path = folder / (format + ".safetensors");
        const nlohmann::json report = convert(model, path, {"--format", format});
        const auto file = qnt::safetensors_file::open(path).value();
        std::size_t tensors = 0;
        for (std::size_t i = 0; i < source.tensors.size(); ++i) {
            const qnt::checkpoint_tensor& t = source.tensors[i];
            INFO(t.name);
            const std::vector<float> values = gpt2_source::values_of(t);
            if (t.is_array) {
                CHECK(file.read_f32(t.name).value() == values);
                ++tensors;
                continue;
            }
            const std::size_t cols = gpt2_source::cols_of(t);
            std::size_t bytes = 0;
            const std::vector<qnt::named_array> parts = qnt::write_bitsandbytes(t.name, matrix_of(values, cols), options).value();
            for (const qnt::named_array& part : parts) {
                const qnt::safetensors_tensor& written = *file.find(part.name).value();
                CHECK(written.dtype == part.dtype);
                CHECK(written.shape == part.shape);
                CHECK(std::ranges::equal(written.data, part.bytes));
                bytes += contains(part.name, "quant_state") ? 0 : part.bytes.size();
                ++tensors;
            }
            const nlohmann::json& r = report["tensors"][i];
            CHECK(r["bytes"] == bytes);
            const std::vector<float> back = qnt::read_bitsandbytes_f32(file, t.name).value();
            const qnt::error_stats e = qnt::error_of(matrix_of(values, cols), matrix_of(back, cols));
            CHECK(r["errors"]["sqnr_db"].get<double>() == Approx(e.sqnr_db).epsilon(1e-12));
            CHECK(r["errors"]["worst_row"] == e.worst.row);
        }
        CHECK(file.tensors().size() == tensors);
    }
    // Plain numbers lie as Hugging Face has them: what is read again is what was there.
    convert(model, folder / "f16.safetensors", {"--format", "f16"});
    const auto before = qnt::safetensors_file::open(model + "/model.safetensors").value(),
               after = qnt::safetensors_file::open(folder / "f16.safetensors").value();
    REQUIRE(after.tensors().size() == before.tensors().size());
    for (const qnt::safetensors_tensor& t : after.tensors()) {
        const qnt::safetensors_tensor& was = *before.find("transformer." + t.name).value();
        CHECK(t.shape == was.shape);
        CHECK(std::ranges::equal(t.data, was.data));
    }
}

TEST_CASE("folders of GPTQ, AWQ and bitsandbytes: codes are taken over where the format asked for holds them") {
    const auto v1 = qnt::gptq_convention::v1;
    const std::vector<float> w = test::awq::make(40, 256, 64).expected(), bias(40, 0.5f);
    const auto gptq = test::gptq::make(4, 40, 256, 128, -1, test::gptq::columns::shuffled), symmetric = test::gptq::make(4, 40, 256, 128, 8);
    const auto awq = test::awq::make(40, 256, 128);
    const struct {
        std::vector<qnt::named_array> tensors;
        const char *config_name, *config, *format, *from;
        bool is_lossless;
    } cases[] = {
        {gptq.tensors(v1, "a"), "quantize_config.json", R"({"bits": 4, "group_size": 128})", "uint4:128",
         "GPTQ 4-bit g128 (v1 by its config, act-order)", true},
        {gptq.tensors(v1, "a"), "quantize_config.json", R"({"bits": 4, "group_size": 128})", "int4:128",
         "GPTQ 4-bit g128 (v1 by its config, act-order)", false},
        {symmetric.tensors(v1, "a"), "config.json", R"({"model_type": "x"})", "int4:128", "GPTQ 4-bit g128 (v1 by its zero points)", true},
        {awq.tensors("a"), "config.json", R"({"model_type": "x", "quantization_config": {"quant_method": "awq", "version": "gemm"}})", "uint4:128",
         "AWQ 4-bit g128", true},
        {awq.tensors("a"), "config.json", R"({"model_type": "x", "quantization_config": {"quant_method": "awq", "version": "gemm"}})", "int8_channel",
         "AWQ 4-bit g128", false},
        {qnt::write_bitsandbytes("a.weight", {w.data(), 40, 256}, {}).value(), "config.json", R"({"model_type": "x"})", "nf4:64", "bitsandbytes nf4",
         true},
    };
    for (const auto& k : cases) {
        INFO(k.from << " to " << k.format);
        temp_folder folder;
        auto tensors = k.tensors;
        tensors.push_back(test::array_of("a.bias", qnt::safetensors_dtype::f32, {bias.size()}, bias));
        write_model(folder / "model.safetensors", tensors);
        write_text(folder / k.config_name, k.config);
        const nlohmann::json report = convert(folder.path.string(), folder / "m.qnt", {"--format", k.format});
        REQUIRE(report["tensors"].size() == 2);
        const nlohmann::json& t = report["tensors"][report["tensors"][0]["name"] == "a.bias"];
        CHECK(t["name"] == "a.weight");
        CHECK(t["shape"] == std::vector<std::size_t>{40, 256});
        CHECK(t["from"] == k.from);
        CHECK(t["to"] == k.format);
        CHECK(t["lossless"] == k.is_lossless);
        const auto written = qnt::checkpoint_file::open(folder / "m.qnt").value(), source = qnt::checkpoint_file::open(folder.path.string()).value();
        const auto back = written.find("a.weight")->read().value(), values = source.find("a.weight")->read().value();
        CHECK(std::equal(back.begin(), back.end(), values.begin(), values.end()) == k.is_lossless);
        CHECK(written.find("a.bias")->read().value() == bias);
    }
}

TEST_CASE("GPTQ's codes on the grid of Q4_0 go into a .gguf as they are, -8 among them") {
    temp_folder folder;
    const auto gptq = test::gptq::make(4, 40, 256, 32, 8);
    write_model(folder / "model.safetensors", gptq.tensors(qnt::gptq_convention::v1, "a"));
    const nlohmann::json report = convert(folder / "model.safetensors", folder / "m.gguf", {"--format", "q4_0"});
    CHECK(report["tensors"][0]["from"] == "GPTQ 4-bit g32 (v1 by its zero points)");
    CHECK(report["tensors"][0]["lossless"] == true);
    CHECK(qnt::gguf_file::open(folder / "m.gguf").value().read_f32("a.weight").value() == gptq.expected());
}

TEST_CASE("equal inputs give equal bytes, with any number of threads") {
    temp_folder folder;
    for (const char* out : {"a.qnt", "a.gguf", "a.safetensors"}) {
        const std::string path = folder / out, format = std::string(out) == "a.safetensors" ? "nf4:64" : "int4:32";
        REQUIRE(quantize({model, path, "--format", format, "--threads", "1"}).exit_code == 0);
        const std::string bytes = text_of(path);
        REQUIRE(quantize({model + "/", path, "--format", format, "--threads", "2", "--force"}).exit_code == 0);
        CHECK(text_of(path) == bytes);
    }
}

TEST_CASE("what cannot be done as asked is refused before OUT is touched") {
    temp_folder folder;
    const std::string in = folder / "in.safetensors", out = folder / "out.qnt";
    write_safetensors(in, {{"a.weight", std::vector<float>(64 * 48, 1.0f)}, {"b.weight", std::vector<float>(64, 2.0f)}}, 48 / 3);
    write_text(out, "old");
    check_refused(quantize({in, out, "--format", "nf4:64"}), 1, "out.qnt: exists; --force replaces it");
    check_refused(quantize({in, in, "--format", "f16", "--force"}), 1, "is what is read");
    check_refused(quantize({model, model + "/model.safetensors", "--format", "f16", "--force"}), 1, "is what is read");
    check_refused(quantize({in, folder / "out.bin", "--format", "f16"}), 2, "out.bin: what OUT shall be says its name");
    check_refused(quantize({in, out}), 2, "format");
    check_refused(quantize({in, out, "--format", "f16", "--policy", "p"}), 2, "policy");
    check_refused(quantize({in}), 2, "OUT");
    check_refused(quantize({in, out, "--format", "nf5:64", "--force"}), 1, "format 'nf5:64'");
    check_refused(quantize({in, folder / "o.gguf", "--format", "nf4:64"}), 1, "GGUF is written as");
    check_refused(quantize({in, folder / "o.gguf", "--format", "q4_0"}), 1, "\"a.weight\": rows of 16 numbers are no whole blocks of 32");
    check_refused(quantize({in, folder / "o.gguf", "--format", "f16", "--strict"}), 2, "--strict");
    check_refused(quantize({in, folder / "o.safetensors", "--format", "nf4:48"}), 1, "power of two");
    check_refused(quantize({folder / "absent", out, "--format", "f16", "--force"}), 1, "absent");
    write_text(folder / "policy.json", R"([["a*", "f16"]])");
    check_refused(quantize({in, out, "--policy", folder / "policy.json", "--force"}), 1, "no rule matches tensor");
    check_refused(quantize({in, folder / "o.gguf", "--policy", folder / "policy.json"}), 1, "no rule matches tensor");
    write_text(folder / "policy.json", R"([["*", 4]])");
    check_refused(quantize({in, out, "--policy", folder / "policy.json", "--force"}), 1, "policy.json: rule 0 is not a pair of strings");
    write_text(folder / "ints.safetensors",
               std::string("\x40\0\0\0\0\0\0\0", 8) + R"({"n":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}          )" + std::string(8, 'x'));
    check_refused(quantize({folder / "ints.safetensors", out, "--format", "f16", "--force"}), 1, "tensor \"n\": \"I64\" cannot be read as numbers");
    // neither is anything done whose report has no place
    const std::vector<std::string> done{in, folder / "new.qnt", "--format", "f16", "--json"};
    const auto with_report = [&](const std::string& file) {
        auto arguments = done;
        arguments.push_back(file);
        return quantize(arguments);
    };
    check_refused(with_report(folder / "nowhere/report.json"), 1, "nowhere/report.json: cannot create a file in its folder");
    check_refused(with_report(out), 1, "out.qnt: exists; --force replaces it");
    check_refused(with_report(in), 1, "in.safetensors: is what is read");
    check_refused(with_report(folder / "./new.qnt"), 2, "./new.qnt: is OUT");
    CHECK(text_of(out) == "old");
    CHECK(folder.files() == 4);
}

TEST_CASE("an error in the middle of the work leaves the old file and nothing else") {
    temp_folder folder;
    std::vector<float> bad(64 * 32, 1.0f);
    bad[5 * 32 + 3] = std::numeric_limits<float>::quiet_NaN();
    const std::string in = folder / "in.safetensors";
    write_safetensors(in, {{"a.weight", std::vector<float>(64 * 32, 1.0f)}, {"b.weight", bad}}, 32);
    for (const auto& [name, format] :
         {std::pair{"out.qnt", "nf4:64"}, {"out.gguf", "q8_0"}, {"out.safetensors", "nf4:64"}, {"f.safetensors", "f16"}}) {
        write_text(folder / name, "old");
        check_refused(quantize({in, folder / name, "--format", format, "--force"}), 1, "b.weight");
        CHECK(text_of(folder / name) == "old");
    }
    CHECK(folder.files() == 5);
}

TEST_CASE("Ctrl-C leaves the old file, exit 130; what a killed run left is removed by the next") {
    temp_folder folder;
    const std::string in = folder / "in.safetensors", out = folder / "out.qnt";
    write_large(in);
    write_text(out, "old");
    for (const int signal : {SIGINT, SIGTERM, SIGKILL}) {
        INFO("signal " << signal);
        running_program p({QNT_QUANTIZE, in, out, "--format", "nf4:64", "--force", "--threads", "1"});
        for (int i = 0; i < 20000 && !has_temporary(folder); ++i) ::usleep(500);
        REQUIRE(has_temporary(folder));
        p.send(signal);
        const outcome o = p.wait();
        CHECK(text_of(out) == "old");
        CHECK(has_temporary(folder) == (signal == SIGKILL));
        if (signal == SIGKILL) CHECK(o.exit_code == 128 + SIGKILL);
        else check_refused(o, 130, "interrupted, nothing was changed");
    }
    write_safetensors(in, {{"a.weight", std::vector<float>(64, 1.0f)}}, 64);
    REQUIRE(quantize({in, out, "--format", "nf4:64", "--force"}).exit_code == 0);
    CHECK(folder.files() == 2);
    CHECK(contains(quantize({"--help"}).out, ".qnt-tmp-NAME-N"));
}

TEST_CASE("the report as a file, and as a table") {
    temp_folder folder;
    const outcome o = quantize({model, folder / "m.qnt", "--format", "int4:32", "--json", folder / "report.json"});
    REQUIRE(o.exit_code == 0);
    const nlohmann::json j = nlohmann::json::parse(text_of(folder / "report.json"));
    CHECK(j["in"] == nlohmann::json{{"file", "qnt-gpt2-5m"}, {"format", "safetensors"}});
    CHECK(j["out"] == nlohmann::json{{"file", "m.qnt"}, {"format", "qnt"}});
    for (const char* field : {"written", "policy", "tensors", "totals"}) CHECK(j.contains(field));
    for (const char* field : {"name", "shape", "from", "to", "elements", "bytes", "bits_per_weight", "kept", "lossless", "errors"})
        CHECK(j["tensors"][0].contains(field));
    for (const char* field : {"sqnr_db", "mse", "max_abs", "worst_row", "worst_row_sqnr_db", "zero_groups", "underflowed"})
        CHECK(j["tensors"][0]["errors"].contains(field));
    for (const char* field : {"tensors", "elements", "bytes", "bits_per_weight", "information_bits_per_weight"}) CHECK(j["totals"].contains(field));
    CHECK(contains(o.out, "wte.weight              [8192, 256]  F16   int4:32  "));
    CHECK(contains(o.out, "52 tensors"));
}
