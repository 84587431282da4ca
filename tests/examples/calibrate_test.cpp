// Outlier columns of a whole model: what calibration sees, what llmint8 makes of it, and the programs that ask for it.
#include "gpt2/calibrate.hpp"
#include "gpt2/tokenizer.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "examples/programs.hpp"
#include "support.hpp"

namespace {

const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";
using ids = std::vector<std::int32_t>;

// Four texts to calibrate with, four others to be scored.
const std::pair<ids, ids>& texts() {
    static const std::pair<ids, ids> both = [] {
        std::pair<ids, ids> t;
        const auto prompts = nlohmann::json::parse(std::ifstream(QNT_SOURCE_DIR "/tests/data/model/goldens.json"))["greedy40"];
        for (std::size_t i = 0; i < prompts.size(); ++i)
            for (const char* part : {"prompt_ids", "new_ids"})
                for (const std::int32_t id : prompts[i][part]) (i % 2 ? t.first : t.second).push_back(id);
        return t;
    }();
    return both;
}

const gpt2::input_ranges& ranges() {
    static const gpt2::input_ranges r = gpt2::calibrate(gpt2::load_model(folder), texts().first);
    return r;
}

gpt2::model load(const std::string& format, qnt::compute_mode mode = qnt::automatic) {
    const auto rule = qnt::policy_rule::parse("h.*", format).value();
    return gpt2::load_model(folder, {.weights = {rule, {"*", qnt::keep<float>}}, .calibration = ranges(), .mode = mode});
}

std::vector<float> logits_of(const gpt2::model& m, std::size_t chunk = 1000, qnt::executor_ref executor = {}, std::size_t tokens = 1000) {
    gpt2::session s(m, executor);
    const auto all = std::span(texts().second).first(std::min(tokens, texts().second.size()));
    std::vector<float> logits;
    for (std::size_t first = 0; first < all.size(); first += chunk) {
        const auto part = s.forward_all(all.subspan(first, std::min(chunk, all.size() - first)));
        logits.insert(logits.end(), part.begin(), part.end());
    }
    return logits;
}

// Of each token but the first: what perplexity is the mean of.
std::vector<double> likelihoods_of(const std::vector<float>& logits) {
    std::vector<double> nll;
    const std::size_t vocab = logits.size() / texts().second.size();
    for (std::size_t t = 0; t + 1 < texts().second.size(); ++t)
        nll.push_back(qnt::negative_log_likelihood(std::span(logits).subspan(t * vocab, vocab), std::size_t(texts().second[t + 1])));
    return nll;
}

template <class T> double difference(const std::vector<T>& a, const std::vector<T>& b) {  // root mean square
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(double(a[i]) - double(b[i]), 2);
    return std::sqrt(sum / double(a.size()));
}

}  // namespace

TEST_CASE("calibration sees the largest magnitude of each input, computed here from the embeddings") {
    const auto file = qnt::checkpoint_file::open(folder).value();
    const gpt2::config c = gpt2::config_of(file);
    std::map<std::string, std::vector<float>> values;
    for (const auto& t : gpt2::checkpoint_of(file, c)) values[t.name] = t.read().value();
    std::vector<double> top(c.n_embd);
    const ids& text = texts().first;
    REQUIRE(text.size() > 100);
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::vector<double> x(c.n_embd);
        double mean = 0, variance = 0;
        for (std::size_t k = 0; k < x.size(); ++k) {
            x[k] = double(values["wte.weight"][std::size_t(text[i]) * c.n_embd + k]) + double(values["wpe.weight"][i * c.n_embd + k]);
            mean += x[k] / double(x.size());
        }
        for (const double v : x) variance += (v - mean) * (v - mean) / double(x.size());
        for (std::size_t k = 0; k < x.size(); ++k) {
            const double v = (x[k] - mean) / std::sqrt(variance + c.layer_norm_epsilon) * double(values["h.0.ln_1.weight"][k]);
            top[k] = std::max(top[k], std::fabs(v + double(values["h.0.ln_1.bias"][k])));
        }
    }
    REQUIRE(ranges().size() == 4 * c.n_layer + 1);
    const auto& seen = ranges().at("h.0.attn.c_attn.weight");
    REQUIRE(seen.size() == c.n_embd);
    for (std::size_t k = 0; k < c.n_embd; ++k) CHECK(double(seen[k]) == Approx(top[k]).epsilon(1e-4));
    for (const auto& [name, absmax] : ranges()) {
        INFO(name);
        CHECK(absmax.size() == (name.find("mlp.c_proj") != std::string::npos ? c.n_inner : c.n_embd));
        CHECK(*std::ranges::min_element(absmax) > 0);
    }
    CHECK_THROWS_WITH(gpt2::calibrate(gpt2::load_model(folder), {}), ContainsSubstring("no tokens"));
}

TEST_CASE("outlier columns bring a model nearer to the full one, the more the nearer, logits and the terms of perplexity") {
    const auto full = logits_of(load("f32"));
    const auto without = logits_of(load("int8_channel"));
    const auto terms = likelihoods_of(full);
    double before = difference(without, full), terms_before = difference(likelihoods_of(without), terms), share = 0;
    for (const char* format : {"llmint8", "llmint8:3", "llmint8:1.5"}) {
        const gpt2::model m = load(format);
        const auto logits = logits_of(m);
        INFO(format << ": " << m.outlier_share() << " of the weights are outliers");
        CHECK(m.outlier_share() > share);
        CHECK(difference(logits, full) < before);
        CHECK(difference(likelihoods_of(logits), terms) < terms_before);
        share = m.outlier_share();
        before = difference(logits, full);
        terms_before = difference(likelihoods_of(logits), terms);
    }
    CHECK(share < 0.7);
    const gpt2::model m = load("llmint8:3");
    CHECK(m.effective_bits() > load("int8_channel").effective_bits());
    for (const gpt2::tensor_report& t : m.matrices()) {
        const bool is_kept = !t.name.starts_with("h.");
        const auto absmax = is_kept ? std::vector<float>() : ranges().at(t.name + ".weight");
        CHECK(t.report.outliers == std::size_t(std::ranges::count_if(absmax, [](float v) { return v >= 3; })));
    }
}

TEST_CASE("a forward pass with outlier columns has the same bits on every instruction set, in chunks and with any number of threads") {
    for (const qnt::compute_mode mode : {qnt::int8_activations, qnt::exact}) {
        const gpt2::model m = load("llmint8:3", mode);
        REQUIRE(m.outlier_share() > 0);
        const auto expected = logits_of(m, 65, {}, 65);
        test::on_every_isa([&](qnt::isa::id id) {
            CHECK(test::same_bits(logits_of(m, 23, {}, 65), expected));
            if (id != qnt::isa::id::scalar) CHECK(test::same_bits(logits_of(m, 1, {}, 65), expected));
        });
        for (const std::size_t threads : {std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
            qnt::thread_pool pool(threads);
            CHECK(test::same_bits(logits_of(m, 40, pool, 65), expected));
        }
    }
}

TEST_CASE("what outlier columns need is said where it is missing") {
    const qnt::policy weights{qnt::policy_rule::parse("*", "llmint8").value()};
    CHECK_THROWS_WITH(gpt2::load_model(folder, {.weights = weights}),
                      ContainsSubstring("tensor \"wte.weight\": int8_channel+outliers:6 chooses columns") && ContainsSubstring("(calibrate)"));
    CHECK(gpt2::calibration_for({{"*", qnt::use<qnt::int8>}}, "/nowhere", "").empty());
    CHECK_THROWS_WITH(gpt2::calibration_for(weights, folder, ""), ContainsSubstring("--calibrate FILE"));
    CHECK_THROWS_WITH(gpt2::calibration_for(weights, folder, "/nowhere.txt"), ContainsSubstring("/nowhere.txt"));
    const temp_folder at;
    write_text(at / "empty.txt", "");
    CHECK_THROWS_WITH(gpt2::calibration_for(weights, folder, at / "empty.txt"), ContainsSubstring("no tokens"));
    check_refused(run({QNT_GENERATE, "--model", folder, "--format", "llmint8"}), 1, "--calibrate FILE");
    check_refused(run({QNT_PERPLEXITY, "--model", folder, "--text", folder + "/README.md", "--format", "llmint8"}), 1, "--calibrate FILE");
    check_refused(run({QNT_GENERATE, "--model", folder, "--format", "llmint8:0"}), 1, "the threshold must be a positive number");
}

TEST_CASE("programs quantize with outlier columns, and a .qnt has them without a text") {
    const temp_folder at;
    const std::string text = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m/README.md", file = at / "m.qnt";
    const auto json_of = [](std::vector<std::string> arguments) {
        const outcome o = run(std::move(arguments));
        INFO(o.err);
        REQUIRE(o.exit_code == 0);
        return nlohmann::json::parse(o.out);
    };
    check_refused(run({QNT_QUANTIZE, folder, file, "--format", "llmint8:3"}), 1, "--calibrate FILE");
    const std::vector<std::string> arguments{QNT_QUANTIZE, folder, file, "--format", "llmint8:3", "--calibrate", text, "--json", "-"};
    auto planning = arguments;
    planning.push_back("--plan");
    const auto plan = json_of(planning), report = json_of(arguments);
    REQUIRE(report["policy"] == nlohmann::json::parse(R"([["*", "llmint8:3"]])"));
    const auto archive = qnt::archive::map(file).value();
    REQUIRE(archive.verify());
    std::size_t outliers = 0;
    for (std::size_t i = 0; i < archive.tensors().size(); ++i) {
        const qnt::archive_tensor& t = archive.tensors()[i];
        CHECK(report["tensors"][i]["outliers"] == t.outliers);
        CHECK(report["tensors"][i]["bytes"] == t.data.size());
        CHECK(plan["tensors"][i]["bytes"] == t.data.size());
        outliers += t.outliers;
    }
    CHECK(outliers > 100);
    CHECK(json_of({QNT_INSPECT, "--json", "--verify", file})["facts"]["outlier columns"] == std::to_string(outliers));

    const auto generated = [&](std::vector<std::string> how) {
        how.insert(how.begin(), {QNT_GENERATE, "--prompt", "The old house", "-n", "8", "--json"});
        return json_of(std::move(how));
    };
    const auto direct = generated({"--model", folder, "--format", "llmint8:3", "--calibrate", text}), stored = generated({"--model", file});
    CHECK(direct["ids"] == stored["ids"]);
    CHECK(direct["outlier_share"] == stored["outlier_share"]);
    CHECK(direct["effective_bits"] == stored["effective_bits"]);
    CHECK(stored["outlier_share"] > 0);
    CHECK(generated({"--model", file, "--format", "llmint8"})["ids"] == stored["ids"]);
    check_refused(run({QNT_GENERATE, "--model", file, "--format", "int8_channel", "--json"}), 1,
                  "is int8_channel with outlier columns, asked for was int8_channel; a .qnt runs as it is");

    // From one .qnt to another: as it is, or calibrated anew.
    const auto again = json_of({QNT_QUANTIZE, file, at / "again.qnt", "--format", "llmint8:3", "--calibrate", text, "--json", "-"});
    for (std::size_t i = 0; i < archive.tensors().size(); ++i)
        if (archive.tensors()[i].outliers > 0) CHECK(again["tensors"][i]["lossless"] == true);
    const auto int4 = json_of({QNT_QUANTIZE, file, at / "int4.qnt", "--format", "int4:32+outliers:3", "--calibrate", text, "--json", "-"});
    CHECK(int4["tensors"][0]["to"] == "int4:32");
    CHECK(generated({"--model", at / "int4.qnt"})["outlier_share"] > 0);
    write_text(at / "policy.json", R"([["h.*", "llmint8"], ["*", "int4:32"]])");
    const std::vector<std::string> perplexity{QNT_PERPLEXITY, "--model", folder, "--text", text, "--windows", "1"};
    auto linear = perplexity;
    linear.insert(linear.end(), {"--linear-only", "--format", "llmint8:2.5", "--calibrate", text});
    const auto scored = json_of(linear);
    CHECK(scored["format"] == "int8_channel+outliers:2.5");
    CHECK(scored["outlier_share"] > 0);
    const auto mixed = generated({"--model", folder, "--policy", at / "policy.json", "--calibrate", text});
    CHECK(mixed["effective_bits"] < direct["effective_bits"]);
    check_refused(run({QNT_GENERATE, "--policy", at / "policy.json"}), 1, "--calibrate FILE");
    check_refused(run({QNT_QUANTIZE, folder, at / "m.gguf", "--format", "llmint8"}), 1, "GGUF is written as");
}
