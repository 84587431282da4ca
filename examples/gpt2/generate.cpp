// qnt-generate: GPT-2 text generation from quantized weights.
//
//   qnt-generate --model examples/models/qnt-gpt2-5m --format int4:32 --prompt "Once upon a time" -n 40
//   qnt-generate --batch prompts.txt --kv int8 --stats                      # one prompt a line, all at once
//
// Weights are read as f16 or f32 and quantized at load. Exit codes: program.hpp.
#include <chrono>
#include <cstdio>
#include <future>
#include <sstream>

#include <nlohmann/json.hpp>

#include "../program.hpp"
#include "batch.hpp"
#include "calibrate.hpp"
#include "modes.hpp"
#include "text_filter.hpp"
#include "tokenizer.hpp"

namespace {

struct settings {
    std::string model = "examples/models/qnt-gpt2-5m";
    std::string prompt = "Once upon a time";
    std::string format;     // empty: that of the model if it is a .qnt, else int8_channel
    std::string policy;     // a file
    std::string calibrate;  // a file
    std::string batch;      // a file
    std::string mode = "automatic";
    std::string kv = "f32";
    std::string isa;
    std::size_t threads = 0;
    std::size_t count = 40;
    gpt2::sampling sampling;
    std::vector<std::string> stops;
    bool json = false, stats = false, in_memory = false;
};

struct sequence {
    std::string prompt, text;
    gpt2::text_filter filter;
    std::vector<std::int32_t> prompt_ids, ids;
    gpt2::finish finished = gpt2::finish::none;
};

// A phase is over when every sequence has its first token, the other one when all have ended.
struct phase {
    double seconds = 0;
    std::size_t steps = 0, tokens = 0;
    gpt2::stopwatch watch = {};
};
struct outcome {
    std::vector<sequence> sequences;
    phase prefill, decode;
    std::size_t kv_bytes = 0;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

gpt2::load_options options_of(const settings& s, qnt::executor_ref executor) {
    gpt2::load_options o;
    o.unless_asked = {{"*", qnt::use<qnt::int8_channel>}};
    if (!s.policy.empty()) o.weights = qnt::policy::parse(gpt2::read_text(s.policy)).value();
    else if (!s.format.empty()) o.weights = {qnt::policy_rule::parse("*", s.format).value()};
    o.calibration = gpt2::calibration_for(o.weights, s.model, s.calibrate, executor);
    o.mode = gpt2::parse_mode(s.mode);
    o.in_memory = s.in_memory;
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

// The lines of a file, or the one prompt.
std::vector<sequence> read_prompts(const settings& s, const gpt2::tokenizer& tokenizer) {
    std::vector<sequence> sequences;
    const auto add = [&](const std::string& prompt, const std::string& where) {
        sequences.push_back({prompt, "", gpt2::text_filter(s.stops), tokenizer.encode(prompt), {}});
        if (sequences.back().prompt_ids.empty()) throw std::runtime_error(where + "the prompt is empty: give at least one character");
    };
    if (s.batch.empty()) {
        add(s.prompt, "");
        return sequences;
    }
    std::istringstream lines(gpt2::read_text(s.batch));
    for (std::string line; std::getline(lines, line);) add(line, s.batch + ":" + std::to_string(sequences.size() + 1) + ": ");
    if (sequences.empty()) throw std::runtime_error(s.batch + ": there is no prompt in it");
    return sequences;
}

// A single text is shown while it grows, those of a batch in their order at the end.
outcome generate(const settings& s, const gpt2::model& model, const gpt2::tokenizer& tokenizer, qnt::thread_pool& pool) {
    outcome o;
    o.sequences = read_prompts(s, tokenizer);
    const bool streams = !s.json && s.batch.empty();
    gpt2::sampling sampling = s.sampling;
    sampling.max_new_tokens = s.count;
    if (const auto end_of_text = tokenizer.special("<|endoftext|>")) sampling.stop_ids = {*end_of_text};
    gpt2::stopwatch watch;
    gpt2::batch batch(model, pool, {.kv = qnt::kv_types::parse(s.kv).value(), .watch = s.stats ? &watch : nullptr});
    for (const sequence& q : o.sequences) {
        batch.add(q.prompt_ids, sampling);  // ids count from 1
        o.prefill.tokens += q.prompt_ids.size();
    }
    const auto show = [&](const std::string& text) {
        if (!streams) return;
        std::fputs(text.c_str(), stdout);
        std::fflush(stdout);
    };
    const auto grow = [&](sequence& q, const std::string& text) {
        q.text += text;
        show(text);
    };
    show(s.prompt);
    std::size_t unprompted = o.sequences.size();
    while (!batch.idle()) {
        phase& now = unprompted > 0 ? o.prefill : o.decode;
        const auto start = std::chrono::steady_clock::now();
        const auto events = batch.step();
        o.kv_bytes = batch.kv_bytes();
        for (const gpt2::event& e : events) {
            sequence& q = o.sequences[e.id - 1];
            if (e.finished == gpt2::finish::cancelled) continue;  // it met a stop string
            if (e.finished == gpt2::finish::broken) throw std::runtime_error("the model computes no logits that a token could be chosen from");
            if (q.ids.empty()) --unprompted;
            else ++now.tokens;
            q.finished = e.finished;
            if (e.finished == gpt2::finish::stop) continue;
            q.ids.push_back(e.token);
            grow(q, q.filter.push(tokenizer.token_bytes(e.token)));
            if (!q.filter.stopped()) continue;
            q.finished = gpt2::finish::stop;
            batch.cancel(e.id);
        }
        now.seconds += seconds_since(start);
        ++now.steps;
        now.watch.add(watch);
        watch.reset();
    }
    for (sequence& q : o.sequences) grow(q, q.filter.finish());
    if (streams) std::puts("");
    else if (!s.json)
        for (const sequence& q : o.sequences) std::printf("%s%s\n", q.prompt.c_str(), q.text.c_str());
    return o;
}

void print_stats(const char* name, const phase& p) {
    if (p.steps == 0) return;
    std::fprintf(stderr, "%s: %zu steps, %zu tokens, %.3f ms a step\n", name, p.steps, p.tokens, 1e3 * p.seconds / double(p.steps));
    const auto line = [&](const char* part, double seconds) {
        std::fprintf(stderr, "  %-10s %9.3f ms %5.1f %%\n", part, 1e3 * seconds / double(p.steps), 100 * seconds / p.seconds);
    };
    for (std::size_t i = 0; i < gpt2::part_names.size(); ++i) line(gpt2::part_names[i], p.watch.seconds(gpt2::part(i)));
    line("text", p.seconds - p.watch.total());  // outside of the engine
}

void run(const settings& s) {
    gpt2::validate(s.sampling);
    qnt::kv_types::parse(s.kv).value();
    if (!s.isa.empty()) qnt::isa::force(qnt::isa::parse(s.isa).value()).value();
    qnt::thread_pool pool(s.threads == 0 ? qnt::usable_cores() : s.threads);
    const auto start = std::chrono::steady_clock::now();
    auto tokens = std::async(std::launch::async, [&] { return gpt2::tokenizer(s.model); });  // meanwhile: it takes as long as a model that is mapped
    const gpt2::model model = gpt2::load_model(s.model, options_of(s, pool), pool);
    const gpt2::tokenizer tokenizer = tokens.get();
    if (tokenizer.vocab_size() != model.config().vocab_size)
        throw std::runtime_error(s.model + ": vocab.json has " + std::to_string(tokenizer.vocab_size()) + " tokens, config.json says " +
                                 std::to_string(model.config().vocab_size));
    const double load_ms = 1e3 * seconds_since(start);
    const outcome o = generate(s, model, tokenizer, pool);
    const auto rate = [](const phase& p) { return p.tokens > 0 ? double(p.tokens) / p.seconds : 0.0; };
    const double prefill = rate(o.prefill), decode = rate(o.decode);
    const std::string format = s.policy.empty() ? gpt2::format_of(model) : "policy:" + s.policy;
    if (s.json) {
        nlohmann::ordered_json j;
        for (const sequence& q : o.sequences) {
            nlohmann::ordered_json& to = s.batch.empty() ? j : j["sequences"].emplace_back();
            to["prompt"] = q.prompt;
            to["prompt_ids"] = q.prompt_ids;
            to["ids"] = q.ids;
            to["text"] = q.text;
            to["finished"] = gpt2::name_of(q.finished);
        }
        j["prefill_tok_s"] = prefill;
        j["decode_tok_s"] = decode;
        j["load_ms"] = load_ms;
        j["model_bytes"] = model.bytes();
        j["effective_bits"] = model.effective_bits();
        j["outlier_share"] = model.outlier_share();
        j["format"] = format;
        j["mode"] = modes_of(model);
        j["kv"] = qnt::kv_types::parse(s.kv).value().name();
        j["kv_bytes"] = o.kv_bytes;
        j["isa"] = qnt::isa::name(qnt::isa::active());
        j["threads"] = pool.size();
        std::puts(j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    } else {
        std::fprintf(stderr, "\n%s: %.2f MB, %.2f bits per weight, %s on %s, %zu threads; load %.0f ms, prefill %.0f tok/s, decode %.0f tok/s\n",
                     format.c_str(), double(model.bytes()) / 1e6, model.effective_bits(), modes_of(model).c_str(), qnt::isa::name(qnt::isa::active()),
                     pool.size(), load_ms, prefill, decode);
    }
    if (s.stats) {
        std::fprintf(stderr, "keys and values: %.2f MB\n", double(o.kv_bytes) / 1e6);
        print_stats("prefill", o.prefill);
        print_stats("decode", o.decode);
    }
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    CLI::App app{"Generates text with a GPT-2 model from quantized weights."};
    app.add_option("--model", s.model, "Hugging Face folder (config.json, model.safetensors, vocab.json, merges.txt), .gguf, or .qnt")
        ->capture_default_str();
    auto* prompt = app.add_option("--prompt", s.prompt, "text to continue")->capture_default_str();
    app.add_option("--batch", s.batch, "file of texts to continue, one a line, instead of --prompt")->excludes(prompt);
    auto* format =
        app.add_option("--format", s.format, "of all matrices: f32 f16 bf16 int8 int8_channel int8:32 nf4:64 nf4_dq:64 int4:32 uint4:64 llmint8 ...")
            ->default_str("int8_channel, of a .qnt its own");
    app.add_option("--policy", s.policy, "JSON file of [pattern, format] rules, instead of --format")->excludes(format);
    app.add_option("--calibrate", s.calibrate, "file of text that decides which columns llmint8 and +outliers:T keep as f16");
    app.add_flag("--in-memory", s.in_memory, "read a .qnt into memory, in huge pages, instead of mapping it");
    app.add_option("--mode", s.mode, "how products compute")->check(CLI::IsMember(gpt2::mode_names))->capture_default_str();
    app.add_option("--kv", s.kv, "how keys and values are stored: f32, f16 or int8, or keys,values as in f16,int8")->capture_default_str();
    tools::add_threads(app, s.threads);
    app.add_option("--isa", s.isa, "instruction set to use instead of the best one");
    app.add_option("-n", s.count, "tokens to generate at most")->check(CLI::Range(1, 1 << 20))->capture_default_str();
    app.add_option("--window", s.sampling.window, "go on beyond the model's context, from the last so many tokens; 0: end there")
        ->capture_default_str();
    app.add_option("--temperature", s.sampling.temperature, "0: greedy")->capture_default_str();
    app.add_option("--top-k", s.sampling.top_k, "only the k most likely tokens; 0: all")->capture_default_str();
    app.add_option("--top-p", s.sampling.top_p, "only the most likely tokens that reach this probability")->capture_default_str();
    app.add_option("--seed", s.sampling.seed, "the same seed gives the same text")->capture_default_str();
    app.add_option("--stop", s.stops, "text that ends the generation and is left out; may come several times")
        ->allow_extra_args(false)
        ->check([](const std::string& text) { return text.empty() ? "an empty text stops nothing" : ""; }, "TEXT");
    app.add_flag("--json", s.json, "print one JSON object instead of the text");
    app.add_flag("--stats", s.stats, "print where the time went");
    return tools::run_program("qnt-generate", app, argc, argv, [&] { run(s); });
}
