// qnt-perplexity: how well a quantized GPT-2 predicts a text.
//
//   qnt-perplexity --text wiki.valid.txt --format int4:32 --mode exact
//
// Protocol: the file as it is, encoded as one string; windows of n_ctx tokens, --stride apart (windows.hpp);
// ppl = exp(sum of nll / scored tokens). One JSON object on stdout. qnt-eval does this for many formats, and much more.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "../program.hpp"
#include "calibrate.hpp"
#include "modes.hpp"
#include "tokenizer.hpp"
#include "windows.hpp"

namespace {

struct settings {
    std::string model = "examples/models/qnt-gpt2-5m";
    std::string text;
    std::string calibrate;  // a file
    std::string format = "int8_channel";
    std::string mode = "automatic";
    std::string kv = "f32";
    bool linear_only = false;
    std::size_t windows = 0;
    std::size_t stride = 0;
    std::size_t threads = 0;
};

void run(const settings& s) {
    qnt::thread_pool pool(s.threads == 0 ? qnt::usable_cores() : s.threads);
    const qnt::policy_rule rule = qnt::policy_rule::parse(s.linear_only ? "h.*" : "*", s.format).value();
    gpt2::load_options options{.weights = {rule, {"*", qnt::keep<float>}}, .mode = gpt2::parse_mode(s.mode)};
    options.calibration = gpt2::calibration_for(options.weights, s.model, s.calibrate, pool);
    const gpt2::model model = gpt2::load_model(s.model, options, pool);
    const auto ids = gpt2::tokenizer(s.model).encode(gpt2::read_text(s.text, ~std::size_t{0}));

    gpt2::session session(model, pool, qnt::kv_types::parse(s.kv).value());
    qnt::perplexity_sum sum;
    const std::size_t length = model.config().n_ctx, stride = s.stride == 0 ? length : s.stride, vocab = model.config().vocab_size;
    if (stride > length) throw tools::usage_error("--stride: at most " + std::to_string(length) + ", the model's context");
    std::vector<gpt2::window> windows = gpt2::windows_of(ids.size(), length, stride);
    if (s.windows > 0 && windows.size() > s.windows) windows.resize(s.windows);
    for (const gpt2::window& w : windows) {
        session.restart();
        const std::int32_t* next = ids.data() + w.first + w.size - w.scored;  // to be scored
        gpt2::for_each_part(ids, w, length, [&](std::span<const std::int32_t> part, std::size_t wanted) {
            const auto logits = session.run(part, wanted);
            std::vector<double> nll(wanted);
            pool.parallel_for(wanted, 16, [&](std::size_t begin, std::size_t end) {
                for (std::size_t t = begin; t < end; ++t)
                    nll[t] = qnt::negative_log_likelihood(logits.subspan(t * vocab, vocab), std::size_t(next[t]));
            });
            for (const double n : nll) sum.add(n);
            next += wanted;
        });
    }
    nlohmann::ordered_json j;
    j["format"] = rule.format_name();
    j["mode"] = s.mode;
    j["kv"] = s.kv;
    j["stride"] = stride;
    j["quantized"] = s.linear_only ? "linear" : "all";
    j["tokens"] = ids.size();
    j["scored_tokens"] = sum.count();
    j["ppl"] = sum.ppl();
    j["standard_error"] = sum.standard_error();
    j["effective_bits"] = model.effective_bits();
    j["outlier_share"] = model.outlier_share();
    std::puts(j.dump().c_str());
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    CLI::App app{"Perplexity of a text under a quantized GPT-2 model."};
    app.add_option("--model", s.model, "folder with config.json, model.safetensors, vocab.json, merges.txt")->capture_default_str();
    app.add_option("--text", s.text, "file to predict")->required();
    app.add_option("--format", s.format, "f32 f16 bf16 int8 int8_channel int8:32 nf4:64 nf4_dq:64 int4:32 uint4:64 llmint8 int4:32+outliers:6 ...")
        ->capture_default_str();
    app.add_option("--calibrate", s.calibrate, "file of text that decides which columns llmint8 and +outliers:T keep as f16");
    app.add_option("--mode", s.mode, "how products compute")->check(CLI::IsMember(gpt2::mode_names))->capture_default_str();
    app.add_flag("--linear-only", s.linear_only, "the matrices of the layers only; token embedding and head stay f32");
    app.add_option("--windows", s.windows, "score only the first of them; 0: all")->capture_default_str();
    app.add_option("--stride", s.stride, "from window to window; 0: the length of one, so that they do not overlap")->capture_default_str();
    app.add_option("--kv", s.kv, "how keys and values are stored: f32, f16 or int8, or keys,values as in f16,int8")->capture_default_str();
    tools::add_threads(app, s.threads);
    return tools::run_program("qnt-perplexity", app, argc, argv, [&] { run(s); });
}
