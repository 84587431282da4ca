// config.json and the metadata of GGUF: what is read, and what is refused by name.
#include "gpt2/gguf.hpp"

#include "io/temp_folder.hpp"
#include "support.hpp"

namespace {

std::string error_of(const std::string& text) {
    try {
        gpt2::parse_config(text, "c.json");
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return "";
}
std::string with(const std::string& field, const std::string& value) {
    std::string text = R"("n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 64, "vocab_size": 100)";
    const std::size_t at = text.find('"' + field + "\": ");
    if (at == std::string::npos) return "{" + text + ", \"" + field + "\": " + value + "}";
    const std::size_t begin = at + field.size() + 4, end = std::min(text.find(',', begin), text.size());
    return "{" + text.replace(begin, end - begin, value) + "}";
}

}  // namespace

TEST_CASE("config: sizes, defaults and the way back") {
    const gpt2::config c = gpt2::parse_config(with("eos_token_id", "99"), "c.json");
    CHECK(c.n_layer == 2);
    CHECK(c.n_embd == 32);
    CHECK(c.head_size() == 8);
    CHECK(c.n_ctx == 64);
    CHECK(c.n_inner == 128);
    CHECK(c.vocab_size == 100);
    CHECK(c.layer_norm_epsilon == 1e-5f);
    CHECK(c.eos_token_id == 99);
    CHECK_FALSE(c.bos_token_id);
    CHECK(gpt2::parse_config(with("n_inner", "null"), "").n_inner == 128);
    CHECK(gpt2::parse_config(with("n_inner", "48"), "").n_inner == 48);
    CHECK(gpt2::parse_config(with("n_ctx", "32"), "").n_ctx == 64);  // the table of positions is what counts
    auto odd = gpt2::parse_config(with("layer_norm_epsilon", "3.1e-6"), "");
    odd.n_inner = 77;
    const gpt2::config back = gpt2::parse_config(gpt2::to_json(odd), "");
    CHECK(gpt2::to_json(back) == gpt2::to_json(odd));
    CHECK(back.layer_norm_epsilon == 3.1e-6f);
    CHECK(back.n_inner == 77);
}

TEST_CASE("config: what is refused, by file and field") {
    const std::tuple<const char*, const char*, const char*> cases[] = {
        {"n_layer", "0", "c.json: 'n_layer' is 0, it should be from 1 to 1024"},
        {"n_layer", "1025", "'n_layer' is 1025"},
        {"n_layer", "-1", "'n_layer': JSON, byte offset 12: expected an integer from 0 to 2^64 - 1, found -1"},
        {"n_layer", "2.0", "found 2.0"},
        {"n_layer", "1e400", "'n_layer'"},
        {"n_layer", "18446744073709551616", "'n_layer'"},
        {"n_layer", "null", "'n_layer'"},
        {"n_embd", "18446744073709551615", "'n_embd' is 18446744073709551615"},
        {"n_embd", "33", "'n_embd' (33) is not a multiple of 'n_head' (4)"},
        {"n_positions", "4294967296", "'n_positions' is 4294967296"},
        {"n_inner", "0", "'n_inner' is 0"},
        {"vocab_size", "true", "'vocab_size'"},
        {"layer_norm_epsilon", "0", "'layer_norm_epsilon' is not a number between 0 and 1"},
        {"layer_norm_epsilon", "1e300", "'layer_norm_epsilon' is not a number between 0 and 1"},
        {"layer_norm_epsilon", "1e-300", "'layer_norm_epsilon'"},
        {"layer_norm_epsilon", "1e999", "'layer_norm_epsilon'"},
        {"layer_norm_epsilon", "\"1e-5\"", "'layer_norm_epsilon'"},
        {"activation_function", "\"relu\"", "'activation_function' is \"relu\", only \"gelu_new\" is supported"},
        {"model_type", "\"\\u001b[2J\"", "'model_type' is \"\\x1b[2J\""},
        {"model_type", "3", "'model_type'"},
        {"scale_attn_weights", "false", "'scale_attn_weights' is not supported"},
        {"scale_attn_by_inverse_layer_idx", "true", "'scale_attn_by_inverse_layer_idx' is not supported"},
        {"add_cross_attention", "true", "'add_cross_attention' is not supported"},
        {"eos_token_id", "100", "'eos_token_id' is 100, 'vocab_size' is 100"},
        {"bos_token_id", "-1", "'bos_token_id'"},
    };
    for (const auto& [field, value, what] : cases) {
        INFO(field << ": " << value << ": " << error_of(with(field, value)));
        CHECK(contains(error_of(with(field, value)), what));
        CHECK(error_of(with(field, value)).starts_with("c.json: "));
    }
    CHECK(contains(error_of("{\"n_layer\": 1}"), "'n_embd' is missing"));
    CHECK(contains(error_of("[]"), "expected an object, found an array"));
    CHECK(contains(error_of("{\"n_layer\": 1, \"n_layer\": 2}"), "duplicate key \"n_layer\""));
    CHECK(contains(error_of(std::string(100, '[')), "nested deeper than 64 levels"));
}

TEST_CASE("gguf: names, and the configuration in metadata") {
    CHECK(gpt2::gguf_name("wte.weight") == "token_embd.weight");
    CHECK(gpt2::gguf_name("lm_head.weight") == "output.weight");
    CHECK(gpt2::gguf_name("ln_f.bias") == "output_norm.bias");
    CHECK(gpt2::gguf_name("h.11.attn.c_attn.weight") == "blk.11.attn_qkv.weight");
    CHECK(gpt2::gguf_name("h.0.ln_2.bias") == "blk.0.ffn_norm.bias");
    CHECK(gpt2::gguf_name("h.0.mlp.c_proj.weight") == "blk.0.ffn_down.weight");
    for (const char* none : {"", "h.", "h.0", "h.0.", "h.x.ln_1.bias", "h.0.ln_1", "h.0.ln_1.gain", "h.0.attn.bias", "wte"})
        CHECK(gpt2::gguf_name(none) == "");

    const temp_folder at;
    const std::vector<float> wte(3200);
    const auto error_with = [&](const std::function<void(gpt2::config&)>& change) {
        gpt2::config c = gpt2::parse_config(with("bos_token_id", "1"), "");
        change(c);
        qnt::gguf_writer out;
        gpt2::set_gguf_metadata(out, c, {{"a"}, {}, {}, "", ""});
        out.declare("token_embd.weight", qnt::gguf_type::f32, {100, 32}).value();
        out.begin(at / "m").value();
        out.write("token_embd.weight", std::as_bytes(std::span(wte))).value();
        out.finish().value();
        try {
            const gpt2::config back = gpt2::config_of(qnt::gguf_file::open(at / "m").value(), "m");
            CHECK(gpt2::to_json(back) == gpt2::to_json(c));
        } catch (const std::runtime_error& e) {
            return std::string(e.what());
        }
        return std::string();
    };
    CHECK(error_with([](auto&) {}) == "");
    CHECK(contains(error_with([](auto& c) { c.n_layer = 0; }), "m: 'gpt2.block_count' is 0"));
    CHECK(contains(error_with([](auto& c) { c.n_embd = 0xffffffff; }), "'gpt2.embedding_length' is 4294967295"));
    CHECK(contains(error_with([](auto& c) { c.n_head = 5; }), "'gpt2.embedding_length' (32) is not a multiple of 'gpt2.attention.head_count' (5)"));
    CHECK(contains(error_with([](auto& c) { c.layer_norm_epsilon = 2; }), "'layer_norm_epsilon' is not a number between 0 and 1"));
    CHECK(contains(error_with([](auto& c) { c.bos_token_id = 100; }), "'bos_token_id' is 100"));
}
