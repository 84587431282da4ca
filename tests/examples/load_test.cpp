// One model, from every kind of file: the same weights give the same bits of logits.
#include "gpt2/load.hpp"
#include "gpt2/gguf.hpp"
#include "gpt2/sampler.hpp"
#include "gpt2/tokenizer.hpp"

#include <algorithm>

#include "io/temp_folder.hpp"
#include "support.hpp"

namespace {

namespace fs = std::filesystem;
const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";
const std::vector<std::int32_t> prompt{314, 11, 290, 1462, 257, 13, 8000, 5};

struct array {
    std::string name;
    std::vector<std::size_t> shape;
    std::vector<float> values;
};

// Without the prefix "transformer.", which the shipped file has.
std::vector<array> arrays() {
    const auto file = qnt::safetensors_file::open(folder + "/model.safetensors").value();
    std::vector<array> all;
    for (const auto& t : file.tensors()) all.push_back({t.name.substr(12), t.shape, file.read_f32(t.name).value()});
    return all;
}
array& named(std::vector<array>& all, const std::string& name) {
    const auto at = std::find_if(all.begin(), all.end(), [&](const array& a) { return a.name == name; });
    REQUIRE(at != all.end());
    return *at;
}
void write_safetensors(const std::string& path, const std::vector<array>& all) {
    qnt::safetensors_writer out;
    for (const array& a : all) out.declare(a.name, qnt::safetensors_dtype::f32, a.shape).value();
    out.begin(path).value();
    for (const auto& t : out.order())
        out.write(t.name, std::find_if(all.begin(), all.end(), [&](const array& a) { return a.name == t.name; })->values).value();
    out.finish().value();
}
void copy_texts(const temp_folder& to) {
    for (const char* name : {"config.json", "vocab.json", "merges.txt"}) fs::copy(folder + "/" + name, to.path);
}

gpt2::load_options options(const char* format) {
    if (!*format) return {};
    return {.weights = {{"*", qnt::any_format::parse(format).value()}}};
}
gpt2::model load(const std::string& path, const char* format = "") { return gpt2::load_model(path, options(format), {}); }
std::string load_error(const std::string& path, const char* format = "") {
    try {
        load(path, format);
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return "";
}

std::vector<float> logits_of(const gpt2::model& m) {
    gpt2::session s(m, {});
    const auto l = s.forward_all(prompt);
    return {l.begin(), l.end()};
}
std::vector<std::int32_t> greedy(const gpt2::model& m) {
    gpt2::session s(m, {});
    std::vector<std::int32_t> ids;
    auto logits = s.forward(prompt);
    for (int i = 0; i < 20; ++i) {
        ids.push_back(gpt2::argmax(logits));
        logits = s.forward(std::span(ids).last(1));
    }
    return ids;
}
const std::vector<float>& expected() {
    static const std::vector<float> logits = logits_of(load(folder));
    return logits;
}

qnt::checkpoint shipped(const gpt2::config& c) { return gpt2::checkpoint_of(qnt::checkpoint_file::open(folder).value(), c); }
gpt2::config shipped_config() { return gpt2::read_config(folder + "/config.json"); }

void write_qnt(const std::string& path, const qnt::checkpoint& tensors, const gpt2::config& c, const qnt::policy& policy) {
    auto metadata = gpt2::tokenizer_texts(gpt2::read_tokenizer(folder));
    metadata.emplace_back("config.json", gpt2::to_json(c));
    qnt::quantize_model(tensors, policy, path, {.metadata = metadata}).value();
}

// Matrices as `type`, the rest as F32.
void write_gguf(const std::string& path, const gpt2::config& c, qnt::gguf_type type, const qnt::any_format& format) {
    qnt::gguf_writer out;
    gpt2::set_gguf_metadata(out, c, gpt2::read_tokenizer(folder));
    const qnt::checkpoint tensors = shipped(c);
    for (const auto& t : tensors) {
        auto shape = t.shape;
        if (t.transposed) std::swap(shape[0], shape[1]);
        out.declare(gpt2::gguf_name(t.name), t.is_array ? qnt::gguf_type::f32 : type, shape).value();
    }
    out.begin(path).value();
    for (const auto& t : tensors) {
        qnt::tensor_report r;
        const auto values = t.is_array ? t.read().value() : std::vector<float>();
        const auto blocks =
            t.is_array ? std::vector<std::byte>() : qnt::gguf_encode(qnt::quantize_tensor(t, {{"*", format}}, r).value().view()).value();
        out.write(gpt2::gguf_name(t.name), t.is_array ? std::as_bytes(std::span(values)) : std::span<const std::byte>(blocks)).value();
    }
    out.finish().value();
}

}  // namespace

TEST_CASE("load: the folder, its file, without a prefix, in several files: the same bits") {
    CHECK(test::same_bits(logits_of(load(folder + "/model.safetensors")), expected()));
    {
        const temp_folder at;
        copy_texts(at);
        auto all = arrays();
        all.push_back({"lm_head.weight", named(all, "wte.weight").shape, named(all, "wte.weight").values});  // tied
        all.push_back({"h.0.attn.bias", {1, 1, 4, 4}, std::vector<float>(16, 1)});
        all.push_back({"h.0.attn.masked_bias", {}, {-1e4f}});
        write_safetensors(at / "model.safetensors", all);
        const gpt2::model m = load(at.path.string());
        CHECK(test::same_bits(logits_of(m), expected()));
        CHECK(m.head().data == m.wte().data);
        CHECK(m.parameters() == load(folder).parameters());
    }
    const temp_folder at;
    copy_texts(at);
    const auto all = arrays();
    std::string map;
    for (std::size_t n = 0; n < 2; ++n) {
        const std::string name = "model-0000" + std::to_string(n + 1) + "-of-00002.safetensors";
        std::vector<array> part;
        for (std::size_t i = n; i < all.size(); i += 2) {
            part.push_back(all[i]);
            map += (map.empty() ? "\"" : ", \"") + all[i].name + "\": \"" + name + "\"";
        }
        write_safetensors(at / name, part);
    }
    write_text(at / "model.safetensors.index.json", "{\"metadata\": {}, \"weight_map\": {" + map + "}}");
    CHECK(test::same_bits(logits_of(load(at.path.string())), expected()));
    CHECK(test::same_bits(logits_of(load(at / "model.safetensors.index.json")), expected()));
}

TEST_CASE("load: a head of its own") {
    const temp_folder at;
    copy_texts(at);
    auto all = arrays();
    array head{"lm_head.weight", named(all, "wte.weight").shape, named(all, "wte.weight").values};
    for (float& v : head.values) v *= 2;  // so every logit is the double, to the bit
    all.push_back(std::move(head));
    write_safetensors(at / "model.safetensors", all);
    auto doubled = expected();
    for (float& v : doubled) v *= 2;
    const gpt2::model m = load(at.path.string());
    CHECK(test::same_bits(logits_of(m), doubled));
    CHECK(m.head().data != m.wte().data);
    REQUIRE(m.matrices().size() == 18);
    CHECK(m.matrices()[17].name == "lm_head");
    const auto file = qnt::checkpoint_file::open(at.path.string()).value();
    write_qnt(at / "m.qnt", gpt2::checkpoint_of(file, gpt2::config_of(file)), shipped_config(), {{"*", qnt::keep<float>}});
    CHECK(test::same_bits(logits_of(load(at / "m.qnt")), doubled));

    const gpt2::config c = shipped_config();
    qnt::checkpoint with_copy = shipped(c);  // no .qnt of ours has such a head: it is not compared, which would read and decode both
    with_copy.push_back(with_copy[0]);
    with_copy.back().name = "lm_head.weight";
    write_qnt(at / "copy.qnt", with_copy, c, {{"*", qnt::keep<float>}});
    const gpt2::model copy = load(at / "copy.qnt");
    CHECK(copy.head().data != copy.wte().data);
    CHECK(test::same_bits(logits_of(copy), expected()));
}

TEST_CASE("load: a .qnt runs where it lies, with the logits of the model that was quantized") {
    const temp_folder at;
    const qnt::policy policy{{"wte", qnt::use<qnt::int8_channel>}, {"*.mlp.*", qnt::use<qnt::int4<32>>}, {"*", qnt::use<qnt::nf4<64>>}};
    const gpt2::config c = shipped_config();
    write_qnt(at / "m.qnt", shipped(c), c, policy);
    const gpt2::model direct = gpt2::load_model(folder, {.weights = policy}, {}), m = load(at / "m.qnt");
    CHECK(test::same_bits(logits_of(m), logits_of(direct)));
    CHECK(m.bytes() == direct.bytes());
    CHECK(m.parameters() == direct.parameters());
    CHECK(m.config().n_head == 4);
    CHECK(m.config().eos_token_id == 8191);
    REQUIRE(m.matrices().size() == direct.matrices().size());
    for (std::size_t i = 0; i < m.matrices().size(); ++i) {
        CHECK(m.matrices()[i].name == direct.matrices()[i].name);
        CHECK(m.matrices()[i].format == direct.matrices()[i].format);
        CHECK(m.matrices()[i].lossless);
    }
    const std::string good = text_of(at / "m.qnt");
    std::string bad = good;
    bad.back() ^= 1;
    write_text(at / "bad.qnt", bad);
    CHECK_THROWS_WITH(gpt2::load_model(at / "bad.qnt", {.verify = true}),
                      ContainsSubstring("bad.qnt: ") && ContainsSubstring("\"ln_f.bias\": the checksum of MiB 0"));
    CHECK(logits_of(gpt2::load_model(at / "bad.qnt")).size() == expected().size());
    CHECK_THROWS_WITH(gpt2::load_model(at / "m.qnt", options("nf4:64"), {}),
                      ContainsSubstring("m.qnt: tensor \"wte.weight\": is int8_channel, asked for was nf4:64; a .qnt runs as it is"));
    CHECK(test::same_bits(logits_of(gpt2::load_model(at / "m.qnt", {.weights = policy})), logits_of(direct)));
    const gpt2::model copied = gpt2::load_model(at / "m.qnt", {.in_memory = true, .verify = true});
    write_text(at / "m.qnt", "");  // nobody reads it any more
    CHECK(test::same_bits(logits_of(copied), logits_of(direct)));
    write_text(at / "cut.qnt", good.substr(0, good.size() / 2));
    CHECK(contains(load_error(at / "cut.qnt"), "cut.qnt: "));

    qnt::quantize_model(shipped(c), policy, at / "bare.qnt").value();
    CHECK(contains(load_error(at / "bare.qnt"), "no \"config.json\" in its metadata"));
    auto other = c;
    other.n_layer = 5;
    write_qnt(at / "other.qnt", shipped(c), other, policy);
    CHECK(contains(load_error(at / "other.qnt"), "there is no tensor \"h.4.ln_1.weight\""));
}

TEST_CASE("load: GGUF; Q8_0 runs as int8:32 without any loss") {
    const temp_folder at;
    const gpt2::config c = shipped_config();
    write_gguf(at / "q8.gguf", c, qnt::gguf_type::q8_0, qnt::use<qnt::int8_group<32>>);
    const gpt2::model q8 = load(at / "q8.gguf", "int8:32");
    CHECK(test::same_bits(logits_of(q8), logits_of(load(folder, "int8:32"))));
    for (const auto& t : q8.matrices()) {
        CHECK(t.lossless);
        CHECK(t.format.name() == "int8:32");
    }
    CHECK(q8.config().n_inner == c.n_inner);
    CHECK(q8.config().layer_norm_epsilon == c.layer_norm_epsilon);
    CHECK(q8.config().bos_token_id == c.bos_token_id);
    CHECK_FALSE(load(at / "q8.gguf", "nf4:64").matrices()[3].lossless);

    write_gguf(at / "f16.gguf", c, qnt::gguf_type::f16, qnt::keep<qnt::f16>);
    const gpt2::model f16 = load(at / "f16.gguf", "f16");
    CHECK(test::same_bits(logits_of(f16), logits_of(load(folder, "f16"))));
    CHECK(greedy(f16) == greedy(load(folder)));
    write_gguf(at / "f32.gguf", c, qnt::gguf_type::f32, qnt::keep<float>);
    CHECK(test::same_bits(logits_of(load(at / "f32.gguf")), expected()));

    const auto file = qnt::checkpoint_file::open(at / "q8.gguf").value();
    write_qnt(at / "q8.qnt", gpt2::checkpoint_of(file, c), c, {{"*", qnt::use<qnt::int8_group<32>>}});
    CHECK(test::same_bits(logits_of(load(at / "q8.qnt")), logits_of(q8)));

    auto deep = c;
    deep.n_layer = 5;
    qnt::gguf_writer out;
    gpt2::set_gguf_metadata(out, deep, gpt2::read_tokenizer(folder));
    out.declare("token_embd.weight", qnt::gguf_type::f32, {c.vocab_size, c.n_embd}).value();
    out.begin(at / "no.gguf").value();
    const auto wte = shipped(c)[0].read().value();
    out.write("token_embd.weight", std::as_bytes(std::span(wte))).value();
    out.finish().value();
    CHECK(contains(load_error(at / "no.gguf"), "there is no tensor \"position_embd.weight\""));
    qnt::gguf_writer llama;
    llama.set("general.architecture", "llama").value();
    llama.begin(at / "llama.gguf").value();
    llama.finish().value();
    CHECK(contains(load_error(at / "llama.gguf"), "\"general.architecture\" is \"llama\", only \"gpt2\" is supported"));
}

TEST_CASE("load: what does not fit is refused, naming the file, the tensor and both shapes") {
    const auto refused = [](const std::function<void(std::vector<array>&)>& change) {
        const temp_folder at;
        copy_texts(at);
        auto all = arrays();
        change(all);
        write_safetensors(at / "model.safetensors", all);
        const std::string message = load_error(at.path.string(), "nf4:64");
        CHECK(contains(message, at.path.string()));
        return message;
    };
    const auto drop = [](const char* name) {
        return [name](std::vector<array>& all) { std::erase_if(all, [&](const array& a) { return a.name == name; }); };
    };
    CHECK(contains(refused(drop("h.1.mlp.c_fc.bias")), "there is no tensor \"h.1.mlp.c_fc.bias\""));
    CHECK(contains(refused([](auto& all) {
                       named(all, "h.0.attn.c_attn.weight").shape = {768, 256};
                   }),
                   "\"h.0.attn.c_attn.weight\" has shape [768,256], the configuration says [256,768]: [3 n_embd, n_embd] transposed"));
    CHECK(contains(refused([](auto& all) {
                       named(all, "wpe.weight").shape = {256, 512};
                   }),
                   "\"wpe.weight\" has shape [256,512], the configuration says [512,256]: [n_positions, n_embd]"));
    CHECK(contains(refused([](auto& all) { named(all, "ln_f.weight").shape = {256, 1}; }), "\"ln_f.weight\" has shape [256,1]"));
    CHECK(contains(refused([](auto& all) { all.push_back({"h.4.ln_1.weight", {1}, {0}}); }), "\"h.4.ln_1.weight\" lies beyond the 4 layers"));
    const float inf = std::numeric_limits<float>::infinity();
    CHECK(contains(refused([&](auto& all) { named(all, "h.0.attn.c_proj.weight").values[3 * 256 + 5] = inf; }),
                   "\"h.0.attn.c_proj.weight\": qnt::quantize: row 5, column 3 is not a finite number"));
    CHECK(contains(refused([&](auto& all) { named(all, "wpe.weight").values[2 * 256 + 7] = -inf; }),
                   "\"wpe.weight\": row 2, column 7 is not a finite number"));
    CHECK(contains(refused([&](auto& all) { named(all, "h.3.ln_2.bias").values[9] = inf - inf; }), "\"h.3.ln_2.bias\": element 9 is not a finite"));
}
