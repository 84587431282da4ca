// qnt-generate: GPT-2 text generation from quantized weights.
//
//   qnt-generate --model examples/models/qnt-gpt2-5m --format int4:32 --prompt "Once upon a time" -n 40
//
// Weights are read as f16 or f32 and quantized at load. Wrong input: one line on stderr, exit 2.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "load.hpp"
#include "program.hpp"
#include "sampler.hpp"
#include "tokenizer.hpp"

namespace {

struct settings {
    std::string model = "examples/models/qnt-gpt2-5m";
    std::string prompt = "Once upon a time";
    std::string format = "int8_channel";
    std::string policy;  // a file
    std::string mode = "automatic";
    std::string isa;
    std::size_t threads = 0;
    int count = 40;
    gpt2::sampling sampling;
    bool json = false;
};

struct outcome {
    std::vector<std::int32_t> prompt_ids, ids;
    std::string text;
    double load_ms = 0, prefill_s = 0, decode_s = 0;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string read_text(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be opened");
    return {std::istreambuf_iterator<char>(file), {}};
}

gpt2::load_options options_of(const settings& s) {
    gpt2::load_options o;
    o.weights = s.policy.empty() ? qnt::policy{{"*", qnt::any_format::parse(s.format).value()}} : qnt::policy::parse(read_text(s.policy)).value();
    o.mode = gpt2::parse_mode(s.mode);
    return o;
}

// The modes that the products of this model really use.
std::string modes_of(const gpt2::model& m) {
    bool exact = false, int8 = false;
    for (const gpt2::tensor_report& t : m.matrices()) {
        const bool is_exact = m.mode() == qnt::exact || t.format.info.is_dense();
        exact = exact || is_exact;
        int8 = int8 || !is_exact;
    }
    return exact && int8 ? "int8_activations+exact" : exact ? "exact" : "int8_activations";
}

outcome generate(const settings& s, const gpt2::model& model, const gpt2::tokenizer& tokenizer, qnt::thread_pool& pool) {
    outcome o;
    o.prompt_ids = tokenizer.encode(s.prompt);
    if (o.prompt_ids.empty()) throw std::runtime_error("the prompt is empty: give at least one character");
    gpt2::sampler sampler(s.sampling);
    gpt2::session session(model, pool);
    gpt2::utf8_stream stream;
    const auto show = [&](std::string_view bytes) {
        o.text += bytes;
        if (s.json) return;
        std::fputs(stream.push(bytes).c_str(), stdout);
        std::fflush(stdout);
    };
    if (!s.json) {
        std::fputs(s.prompt.c_str(), stdout);
        std::fflush(stdout);
    }
    const auto end_of_text = tokenizer.special("<|endoftext|>");
    auto start = std::chrono::steady_clock::now();
    std::span<const float> logits = session.forward(o.prompt_ids);
    o.prefill_s = seconds_since(start);
    start = std::chrono::steady_clock::now();
    for (int i = 0; i < s.count; ++i) {
        if (i > 0) {
            if (session.position() == model.config().n_ctx) break;
            logits = session.forward({&o.ids.back(), 1});
        }
        const std::int32_t next = sampler(logits);
        if (end_of_text && next == *end_of_text) break;
        o.ids.push_back(next);
        show(tokenizer.token_bytes(next));
    }
    o.decode_s = seconds_since(start);
    if (!s.json) std::puts(stream.finish().c_str());
    return o;
}

void run(const settings& s) {
    gpt2::validate(s.sampling);
    if (!s.isa.empty()) qnt::isa::force(qnt::isa::parse(s.isa).value()).value();
    qnt::thread_pool pool(s.threads == 0 ? qnt::usable_cores() : s.threads);
    const auto start = std::chrono::steady_clock::now();
    const gpt2::model model = gpt2::load_model(s.model, options_of(s), pool);
    const gpt2::tokenizer tokenizer(s.model);
    if (tokenizer.vocab_size() != model.config().vocab_size)
        throw std::runtime_error(s.model + ": vocab.json has " + std::to_string(tokenizer.vocab_size()) + " tokens, config.json says " +
                                 std::to_string(model.config().vocab_size));
    const double load_ms = 1e3 * seconds_since(start);
    const outcome o = generate(s, model, tokenizer, pool);
    const double prefill = double(o.prompt_ids.size()) / o.prefill_s, decode = o.ids.size() > 1 ? double(o.ids.size() - 1) / o.decode_s : 0.0;
    const std::string format = s.policy.empty() ? qnt::any_format::parse(s.format)->name() : "policy:" + s.policy;
    if (s.json) {
        nlohmann::ordered_json j;
        j["prompt"] = s.prompt;
        j["prompt_ids"] = o.prompt_ids;
        j["ids"] = o.ids;
        j["text"] = o.text;
        j["prefill_tok_s"] = prefill;
        j["decode_tok_s"] = decode;
        j["load_ms"] = load_ms;
        j["model_bytes"] = model.bytes();
        j["effective_bits"] = model.effective_bits();
        j["format"] = format;
        j["mode"] = modes_of(model);
        j["isa"] = qnt::isa::name(qnt::isa::active());
        j["threads"] = pool.size();
        std::puts(j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    } else {
        std::fprintf(stderr, "\n%s: %.2f MB, %.2f bits per weight, %s on %s, %zu threads; load %.0f ms, prefill %.0f tok/s, decode %.0f tok/s\n",
                     format.c_str(), double(model.bytes()) / 1e6, model.effective_bits(), modes_of(model).c_str(), qnt::isa::name(qnt::isa::active()),
                     pool.size(), load_ms, prefill, decode);
    }
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    CLI::App app{"Generates text with a GPT-2 model from quantized weights."};
    app.add_option("--model", s.model, "folder with config.json, model.safetensors, vocab.json, merges.txt")->capture_default_str();
    app.add_option("--prompt", s.prompt, "text to continue")->capture_default_str();
    auto* format =
        app.add_option("--format", s.format, "of all matrices: f32 f16 bf16 int8 int8_channel int8:32 nf4:64 nf4_dq:64 int4:32 uint4:64 ...")
            ->capture_default_str();
    app.add_option("--policy", s.policy, "JSON file of [pattern, format] rules, instead of --format")->excludes(format);
    app.add_option("--mode", s.mode, "how products compute")->check(CLI::IsMember(gpt2::mode_names))->capture_default_str();
    app.add_option("--threads", s.threads, "0: one for each usable core")->check(CLI::Range(0, 1024))->capture_default_str();
    app.add_option("--isa", s.isa, "instruction set to use instead of the best one");
    app.add_option("-n", s.count, "tokens to generate at most")->check(CLI::Range(1, 1 << 20))->capture_default_str();
    app.add_option("--temperature", s.sampling.temperature, "0: greedy")->capture_default_str();
    app.add_option("--top-k", s.sampling.top_k, "only the k most likely tokens; 0: all")->capture_default_str();
    app.add_option("--top-p", s.sampling.top_p, "only the most likely tokens that reach this probability")->capture_default_str();
    app.add_option("--seed", s.sampling.seed, "the same seed gives the same text")->capture_default_str();
    app.add_flag("--json", s.json, "print one JSON object instead of the text");
    return gpt2::run_program("qnt-generate", app, argc, argv, [&] { run(s); });
}
