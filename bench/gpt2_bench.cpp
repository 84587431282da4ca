// qnt-bench-gpt2: times GPT-2, prompts and generation, beside the limit of the machine measured in the same run.
//
//   qnt-bench-gpt2 --make gpt2-124m                                        # a model of the smallest GPT-2's shape, random weights
//   qnt-bench-gpt2 --model gpt2-124m --formats int8_channel,int4:32 --threads 1 --prompt 128 --decode 128
//
// One JSON object per line: peer, version, op, format, m (prompt), n (tokens generated), k (0), threads, cache, batch, kv, mode, prefill_tok_s,
// decode_tok_s (medians of `reps`, of all sequences together), best_prefill_tok_s, best_decode_tok_s, load_s, peak_rss_mb (of the process so
// far, quantizing included), model_mb (of the weights), other_cpu, cpu, isa; read_gbps, and decode_of_limit: the bytes that a step has to read
// (weights, keys and values) over that limit, divided by the time it took.
#include <gpt2/batch.hpp>
#include <gpt2/load.hpp>
#include <gpt2/modes.hpp>

#include <sys/resource.h>

#include <filesystem>
#include <iostream>

#include "../examples/machine.hpp"
#include "../examples/program.hpp"
#include "measure.hpp"
#include "random_floats.hpp"
#include "row.hpp"

namespace {

struct settings {
    std::string make, model, formats = "int8_channel,int4:32,nf4:64", kv = "f32", mode = "automatic", isa;
    std::size_t threads = 1, prompt = 128, decode = 128, batch = 1;
    int reps = 5;
    bool in_memory = false;
};

// config.json and model.safetensors; weights of a deviation of 0.02, as GPT-2 begins with.
void make_model(const std::string& folder) {
    gpt2::config c;
    c.n_layer = 12, c.n_embd = 768, c.n_head = 12, c.n_inner = 3072, c.n_ctx = 1024, c.vocab_size = 50257;
    std::filesystem::create_directories(folder);
    const std::string text = gpt2::to_json(c);
    qnt::write_file_atomically(folder + "/config.json", std::as_bytes(std::span(text.data(), text.size()))).value();
    qnt::safetensors_writer out;
    for (gpt2::expected_tensor& t : gpt2::tensors_of(c)) {
        if (t.is_conv1d) std::swap(t.shape[0], t.shape[1]);
        out.declare(t.name, qnt::safetensors_dtype::f32, t.shape).value();
    }
    out.begin(folder + "/model.safetensors").value();
    unsigned seed = 0;
    for (const qnt::safetensors_tensor& t : out.order()) {
        std::vector<float> values = bench::random_floats(t.elements, seed++);
        const bool is_gain = t.name.find("ln_") != t.name.npos && t.name.ends_with(".weight");
        for (float& v : values) v = is_gain ? 1.0f : v * 0.0346f;  // uniform: the deviation is 1/sqrt(3) of the bound
        out.write(t.name, std::span<const float>(values)).value();
    }
    out.finish().value();
}

double peak_rss_mb() {
    rusage u{};
    getrusage(RUSAGE_SELF, &u);
    return double(u.ru_maxrss) / 1024;
}

double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}

// Of one position in all layers.
double kv_bytes_per_position(const gpt2::config& c, const qnt::kv_types& types) {
    auto cache = qnt::kv_cache::create(c.n_layer, c.n_head, c.head_size(), c.n_ctx, types).value();
    cache.reserve(1).value();
    return double(cache.bytes()) / double(qnt::kv_cache::block);
}

// Memory as the weights have it, larger than any cache.
double read_limit(std::size_t threads) {
    const std::size_t bytes = std::size_t{1} << 29;
    auto buffer = qnt::aligned_buffer::allocate(bytes).value();
    std::memset(buffer.data(), 1, bytes);
    return bench::read_gbps(buffer.data(), bytes, threads, 1);
}

class runner {
public:
    explicit runner(const settings& s) : s_(s), pool_(s.threads), kv_(qnt::kv_types::parse(s.kv).value()) {
        for (std::size_t i = 0; i < s.prompt; ++i) prompt_.push_back(std::int32_t((i * 7919 + 13) % 50000));
    }

    void run(const std::string& format) {
        gpt2::load_options options{.mode = gpt2::parse_mode(s_.mode), .in_memory = s_.in_memory};
        if (!format.empty()) options.weights = {{"*", qnt::any_format::parse(format).value()}};
        const double begin = bench::now_us();
        const gpt2::model model = gpt2::load_model(s_.model, options, pool_);
        const double load_s = (bench::now_us() - begin) * 1e-6;
        const gpt2::config& c = model.config();
        if (s_.prompt + s_.decode > c.n_ctx)
            throw std::runtime_error("--prompt and --decode do not fit into the context of " + std::to_string(c.n_ctx));
        for (std::int32_t& id : prompt_) id %= std::int32_t(c.vocab_size);
        std::vector<double> prefill_us, decode_us;
        gpt2::batch batch(model, pool_, {.kv = kv_, .max_rows_per_step = s_.prompt * s_.batch, .max_sequences = s_.batch});
        generate(batch);  // warm
        const bench::other_load load;
        for (int i = 0; i < s_.reps; ++i) {
            const auto [prefill, decode] = generate(batch);
            prefill_us.push_back(prefill);
            decode_us.push_back(decode);
        }
        const double other = load.cores(), rss_mb = peak_rss_mb(), limit = read_limit(s_.threads);
        const auto rate = [&](std::size_t tokens, double us) { return double(tokens * s_.batch) / us * 1e6; };
        const double positions = double(s_.prompt) + (double(s_.decode) + 1) / 2;  // that a step looks at, on average
        const double bytes =
            double(model.bytes() - c.n_ctx * c.n_embd * sizeof(float)) + positions * double(s_.batch) * kv_bytes_per_position(c, kv_);
        const std::string name = format.empty() ? model.matrices()[0].format.name() : format;
        nlohmann::ordered_json row = bench::row_of("gpt2_e2e", name, s_.prompt, s_.decode, 0, s_.threads, "cold");
        row["batch"] = s_.batch;
        row["kv"] = kv_.name();
        row["mode"] = s_.mode;
        row["prefill_tok_s"] = rate(s_.prompt, median(prefill_us));
        row["decode_tok_s"] = rate(s_.decode, median(decode_us));
        row["best_prefill_tok_s"] = rate(s_.prompt, *std::min_element(prefill_us.begin(), prefill_us.end()));
        row["best_decode_tok_s"] = rate(s_.decode, *std::min_element(decode_us.begin(), decode_us.end()));
        row["reps"] = s_.reps;
        row["load_s"] = load_s;
        row["peak_rss_mb"] = rss_mb;
        row["model_mb"] = double(model.bytes()) / 1e6;
        row["other_cpu"] = other;
        row["cpu"] = tools::cpu_name();
        row["isa"] = qnt::isa::name(qnt::isa::active());
        row["read_gbps"] = limit;
        row["decode_of_limit"] = bytes / limit * 1e-3 / (median(decode_us) / double(s_.decode));
        std::cout << row.dump() << std::endl;
    }

private:
    // Microseconds of the prompts, and of the steps after them, which choose tokens greedily.
    std::pair<double, double> generate(gpt2::batch& batch) const {
        for (std::size_t i = 0; i < s_.batch; ++i) batch.add(prompt_, {.max_new_tokens = s_.decode + 1});
        const double begin = bench::now_us();
        batch.step();  // all prompts
        const double prompted = bench::now_us();
        std::size_t steps = 0;
        for (; !batch.idle(); ++steps) batch.step();
        const double end = bench::now_us();
        if (steps != s_.decode) throw std::runtime_error("generated " + std::to_string(steps) + " steps, not " + std::to_string(s_.decode));
        return {prompted - begin, end - prompted};
    }

    settings s_;
    qnt::thread_pool pool_;
    qnt::kv_types kv_;
    std::vector<std::int32_t> prompt_;
};

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Times GPT-2, one JSON object per line.");
    settings s;
    auto* make = app.add_option("--make", s.make, "write a model of random weights into this folder, and end");
    app.add_option("--model", s.model, "what qnt-generate takes")->excludes(make);
    app.add_option("--formats", s.formats, "formats,of,all,matrices; empty: a .qnt's own")->capture_default_str();
    app.add_option("--threads", s.threads, "threads")->capture_default_str()->check(CLI::Range(1, 1024));
    app.add_option("--prompt", s.prompt, "tokens of each prompt")->capture_default_str()->check(CLI::PositiveNumber);
    app.add_option("--decode", s.decode, "tokens after it")->capture_default_str()->check(CLI::PositiveNumber);
    app.add_option("--batch", s.batch, "sequences at once")->capture_default_str()->check(CLI::PositiveNumber);
    app.add_option("--kv", s.kv, "types of keys and values")->capture_default_str();
    app.add_option("--mode", s.mode, "how products compute")->check(CLI::IsMember(gpt2::mode_names))->capture_default_str();
    app.add_option("--isa", s.isa, "instruction set (default: the widest)");
    app.add_option("--reps", s.reps, "measurements")->capture_default_str()->check(CLI::PositiveNumber);
    app.add_flag("--in-memory", s.in_memory, "read a .qnt into memory instead of mapping it");
    return tools::run_program("qnt-bench-gpt2", app, argc, argv, [&] {
        if (!s.make.empty()) return make_model(s.make);
        if (s.model.empty()) throw tools::usage_error("--model or --make is needed");
        if (!s.isa.empty()) qnt::isa::force(qnt::isa::parse(s.isa).value()).value();
        runner all(s);
        if (s.formats.empty()) return all.run("");
        for (const std::string& format : bench::split(s.formats, ',')) all.run(format);
    });
}
