#include "gpt2/load.hpp"
#include "gpt2/sampler.hpp"
#include "gpt2/tokenizer.hpp"

#include <qnt/qnt.hpp>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support.hpp"

namespace {

const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

nlohmann::json goldens() { return nlohmann::json::parse(std::ifstream(QNT_SOURCE_DIR "/tests/data/model/goldens.json")); }

gpt2::model load(const char* format, qnt::compute_mode mode = qnt::automatic, const std::string& from = folder) {
    return gpt2::load_model(from, {.weights = {{"*", qnt::any_format::parse(format).value()}}, .mode = mode}, {});
}

const std::vector<std::int32_t>& sample_ids() {  // 65 tokens of prose
    static const std::vector<std::int32_t> ids = [] {
        const auto j = goldens()["greedy40"];
        auto all = j[0]["prompt_ids"].get<std::vector<std::int32_t>>();
        for (const auto& e : j)
            for (const std::int32_t id : e["new_ids"]) all.push_back(id);
        all.resize(65);
        return all;
    }();
    return ids;
}

std::vector<float> logits_of(const gpt2::model& m, std::span<const std::int32_t> ids, std::size_t chunk, qnt::executor_ref executor = {}) {
    gpt2::session s(m, executor);
    std::vector<float> all;
    for (std::size_t first = 0; first < ids.size(); first += chunk) {
        const auto part = s.forward_all(ids.subspan(first, std::min(chunk, ids.size() - first)));
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

void check_logits(const gpt2::model& model, double tolerance) {
    const auto reference = qnt::safetensors_file::open(QNT_SOURCE_DIR "/tests/data/model/goldens_logits.safetensors").value();
    const auto cases = goldens()["logits"]["cases"];
    REQUIRE(cases.size() == 3);
    for (std::size_t i = 0; i < cases.size(); ++i) {
        gpt2::session s(model, {});
        const auto logits = s.forward(cases[i]["ids"].get<std::vector<std::int32_t>>());
        const auto expected = reference.read_f32("prompt" + std::to_string(i) + ".last_logits").value();
        REQUIRE(logits.size() == expected.size());
        double worst = 0;
        for (std::size_t k = 0; k < expected.size(); ++k) worst = std::max(worst, double(std::fabs(logits[k] - expected[k])));
        INFO("case " << i << ", largest difference " << worst);
        CHECK(worst <= tolerance);
    }
}

}  // namespace

TEST_CASE("f32 compute on the shipped model: greedy ids of another system, logits within 2e-2") {
    const gpt2::tokenizer tokenizer(folder);
    const gpt2::model model = load("f32");
    CHECK(model.parameters() == 5387776);
    gpt2::session session(model, {});
    const nlohmann::json prompts = goldens()["greedy40"];
    REQUIRE(prompts.size() == 8);
    for (const auto& e : prompts) {
        session.restart();
        const auto prompt = tokenizer.encode(e["prompt"].get<std::string>());
        REQUIRE(prompt == e["prompt_ids"].get<std::vector<std::int32_t>>());
        std::vector<std::int32_t> ids;
        auto logits = session.forward(prompt);
        while (ids.size() < 40) {
            ids.push_back(gpt2::argmax(logits));
            logits = session.forward({&ids.back(), 1});
        }
        CHECK(ids == e["new_ids"].get<std::vector<std::int32_t>>());
    }
    check_logits(model, 2e-2);
}

TEST_CASE("f32 compute on the f32 weights: logits within 2e-5 of the reference") {
    const std::filesystem::path f32 = std::filesystem::path(QNT_SHARED_DIR) / "data/model";
    if (!std::filesystem::exists(f32 / "model.safetensors")) {
        WARN("skipped: " << f32.string() << "/model.safetensors is not there");
        return;
    }
    check_logits(load("f32", qnt::automatic, f32.string()), 2e-5);
}

TEST_CASE("a forward pass has the same bits on every instruction set, in chunks, token by token, and with any number of threads") {
    for (const auto& [format, mode] : {std::pair{"f32", qnt::exact},
                                       {"int8_channel", qnt::int8_activations},
                                       {"nf4:64", qnt::int8_activations},
                                       {"int4:32", qnt::int8_activations},
                                       {"int4:32", qnt::exact},
                                       {"uint4:64", qnt::int8_activations}}) {
        const gpt2::model model = load(format, mode);
        const std::span<const std::int32_t> ids = sample_ids();
        qnt::isa::reset();
        const auto expected = logits_of(model, ids, ids.size());
        INFO(format << " " << qnt::name_of(mode));
        test::on_every_isa([&](qnt::isa::id id) {
            CHECK(test::same_bits(logits_of(model, ids, 23), expected));
            if (id == qnt::isa::id::scalar) return;  // the rest takes long there, and chunks do not depend on the instruction set
            for (const std::size_t chunk : {std::size_t(1), std::size_t(7), ids.size()})
                CHECK(test::same_bits(logits_of(model, ids, chunk), expected));
        });
        for (const std::size_t threads : {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{8}}) {
            qnt::thread_pool pool(threads);
            CHECK(test::same_bits(logits_of(model, ids, 40, pool), expected));
        }
    }
}

TEST_CASE("quantized models stay close to the full one") {
    const auto full = logits_of(load("f32"), sample_ids(), 65);
    const std::size_t vocab = full.size() / 65;
    const auto kl = [&](const char* format, qnt::compute_mode mode) {
        const auto other = logits_of(load(format, mode), sample_ids(), 65);
        double sum = 0;
        for (std::size_t t = 0; t < 65; ++t)
            sum += qnt::kl_divergence(std::span(full).subspan(t * vocab, vocab), std::span(other).subspan(t * vocab, vocab));
        return sum / 65;
    };
    CHECK(kl("f16", qnt::exact) < 1e-6);
    CHECK(kl("int8_channel", qnt::exact) < 2e-3);
    CHECK(kl("int8_channel", qnt::int8_activations) < 6e-3);
    CHECK(kl("int8:32", qnt::int8_activations) < 3e-3);
    CHECK(kl("int4:32", qnt::int8_activations) < 0.2);
    CHECK(kl("nf4:64", qnt::int8_activations) < 0.2);
    CHECK(kl("nf4:64", qnt::exact) < 0.2);
}

TEST_CASE("a policy mixes formats; the report says what became of each matrix") {
    const gpt2::model m = gpt2::load_model(folder,
                                           {.weights = {{"wte", qnt::use<qnt::int8_channel>},
                                                        {"h.0.*", qnt::keep<float>},
                                                        {"*.mlp.*", qnt::use<qnt::int4<32>>},
                                                        {"*", qnt::use<qnt::nf4<64>>}}},
                                           {});
    REQUIRE(m.matrices().size() == 17);
    for (const gpt2::tensor_report& t : m.matrices()) {
        const std::string expected = t.name == "wte"                             ? "int8_channel"
                                     : t.name.starts_with("h.0.")                ? "f32"
                                     : t.name.find(".mlp.") != std::string::npos ? "int4:32"
                                                                                 : "nf4:64";
        CHECK(t.format.name() == expected);
        CHECK(t.report.sqnr_db > 15);
    }
    CHECK(logits_of(m, sample_ids(), 65).size() == 65 * 8192);
    CHECK_THROWS_WITH(gpt2::load_model(folder, {.weights = {{"wte", qnt::use<qnt::int8>}}}, {}),
                      ContainsSubstring("no rule matches tensor 'h.0.attn.c_attn.weight'"));
}

TEST_CASE("what cannot be run is refused") {
    const gpt2::model m = load("int4:32");
    gpt2::session s(m, {});
    CHECK_THROWS_WITH(s.forward({}), ContainsSubstring("no tokens"));
    const std::vector<std::int32_t> bad{1, 8192}, negative{-1}, long_text(513, 5);
    CHECK_THROWS_WITH(s.forward(bad), ContainsSubstring("8192 is not in the vocabulary"));
    CHECK_THROWS_WITH(s.forward(negative), ContainsSubstring("-1"));
    CHECK_THROWS_WITH(s.forward(long_text), ContainsSubstring("room for 512"));
    CHECK_THROWS_WITH(gpt2::load_model("/nonexistent", {}, {}), ContainsSubstring("/nonexistent: "));
}

TEST_CASE("logits that nobody asks for are not computed, those asked for have the same bits") {
    const gpt2::model m = load("int8_channel");
    const std::span<const std::int32_t> ids = sample_ids();
    const auto expected = logits_of(m, ids, ids.size());
    const std::size_t vocab = m.config().vocab_size;
    gpt2::forward_pass pass(m, {});
    for (const std::size_t wanted : {std::size_t(0), std::size_t(1), std::size_t(7), ids.size()}) {
        std::vector<qnt::kv_cache> caches;
        for (int i = 0; i < 3; ++i) caches.push_back(pass.new_cache({}));
        // beside two others, one before and one behind
        const gpt2::sequence_rows rows[] = {{ids.first(9), &caches[0], 2}, {ids, &caches[1], wanted}, {ids.first(30), &caches[2], 1}};
        const auto logits = pass(rows);
        REQUIRE(logits.size() == (wanted + 3) * vocab);
        CHECK(test::same_bits(logits.first(2 * vocab), std::span(expected).subspan(7 * vocab, 2 * vocab)));
        CHECK(test::same_bits(logits.subspan(2 * vocab, wanted * vocab), std::span(expected).last(wanted * vocab)));
        CHECK(test::same_bits(logits.last(vocab), std::span(expected).subspan(29 * vocab, vocab)));
        for (std::size_t layer = 0; layer < m.config().n_layer; ++layer) CHECK(caches[1].length(layer) == ids.size());
    }
    qnt::kv_cache cache = pass.new_cache({});
    const gpt2::sequence_rows too_many{ids.first(2), &cache, 3};
    CHECK_THROWS_WITH(pass({&too_many, 1}), ContainsSubstring("3 rows of logits wanted after 2 tokens"));
}
