#include <serve/evaluate.hpp>

#include <gpt2/batch.hpp>
#include <gpt2/load.hpp>

#include "catch.hpp"

namespace {

const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

gpt2::model load(const char* format) { return gpt2::load_model(folder, {.weights = {{"*", qnt::any_format::parse(format).value()}}}, {}); }

std::vector<serve::prompt_text> prompts_of(const gpt2::tokenizer& t, const std::vector<std::string>& texts) {
    std::vector<serve::prompt_text> out;
    for (const std::string& text : texts) out.push_back({text, t.encode(text)});
    return out;
}

}  // namespace

TEST_CASE("similarity is 1 - edit distance / the longer length") {
    CHECK(serve::similarity("", "") == 1);
    CHECK(serve::similarity("abc", "abc") == 1);
    CHECK(serve::similarity("abc", "") == 0);
    CHECK(serve::similarity("abc", "xyz") == 0);
    CHECK(serve::similarity("kitten", "sitting") == Approx(1 - 3.0 / 7));
    CHECK(serve::similarity("sitting", "kitten") == Approx(1 - 3.0 / 7));
    CHECK(serve::similarity("flaw", "lawn") == Approx(0.5));
}

TEST_CASE("jaccard is the share of words in common") {
    CHECK(serve::jaccard("", " \n") == 1);
    CHECK(serve::jaccard("a b c", "c\tb a a") == 1);
    CHECK(serve::jaccard("a b", "c") == 0);
    CHECK(serve::jaccard("a b c", "b c d") == Approx(0.5));
    CHECK(serve::jaccard("a", "") == 0);
}

TEST_CASE("evaluate: a model is identical to itself, and its text is the greedy one") {
    const gpt2::model m = load("int8_channel");
    const gpt2::tokenizer t(folder);
    serve::turns turns;
    const auto e = serve::evaluate(m, m, t, prompts_of(t, {"The old house", "Water is"}), 12, {}, turns, [] { return false; });
    REQUIRE(e.texts.size() == 2);
    CHECK(e.identical_share() == 1);
    CHECK(e.mean(&serve::evaluated::similarity) == 1);
    CHECK(e.mean(&serve::evaluated::jaccard) == 1);
    CHECK(e.mean(&serve::evaluated::kl) == 0);
    CHECK(e.mean(&serve::evaluated::top1) == 1);
    CHECK(e.tokens_per_second(&serve::evaluated::baseline) > 0);
    std::string greedy;
    gpt2::generate(m, t.encode("The old house"), {.max_new_tokens = 12}, [&](std::int32_t id) { return greedy += t.token_bytes(id), true; });
    CHECK(e.texts[0].baseline.text == greedy);
    CHECK(e.texts[0].quantized.tokens == 12);
}

TEST_CASE("evaluate: fewer bits diverge more") {
    const gpt2::model f32 = load("f32"), int8 = load("int8_channel"), int4 = load("int4:128");
    const gpt2::tokenizer t(folder);
    serve::turns turns;
    const auto prompts = prompts_of(t, serve::built_in_prompts());
    const auto close = serve::evaluate(f32, int8, t, prompts, 8, {}, turns, [] { return false; });
    const auto far = serve::evaluate(f32, int4, t, prompts, 8, {}, turns, [] { return false; });
    CHECK(close.mean(&serve::evaluated::kl) > 0);
    CHECK(close.mean(&serve::evaluated::kl) < 0.01);
    CHECK(far.mean(&serve::evaluated::kl) > 3 * close.mean(&serve::evaluated::kl));
    CHECK(close.mean(&serve::evaluated::top1) > far.mean(&serve::evaluated::top1));
}

TEST_CASE("evaluate: the divergence is that of two sessions which read the baseline's text token by token") {
    const gpt2::model f32 = load("f32"), int8 = load("int8_channel");
    const gpt2::tokenizer t(folder);
    serve::turns turns;
    const auto prompts = prompts_of(t, {serve::built_in_prompts()[0]});
    const auto e = serve::evaluate(f32, int8, t, prompts, 20, {}, turns, [] { return false; });
    gpt2::session a(f32, {}), b(int8, {});
    double kl = 0, top1 = 0;
    std::string text;
    std::vector<std::int32_t> unread = prompts[0].ids;
    for (int i = 0; i < 20; ++i) {
        const auto p = a.forward(unread), q = b.forward(unread);
        kl += qnt::kl_divergence(p, q);
        top1 += gpt2::argmax(p) == gpt2::argmax(q);
        unread = {gpt2::argmax(p)};
        text += t.token_bytes(unread[0]);
    }
    CHECK(e.texts[0].baseline.text == text);
    CHECK(e.texts[0].kl == kl / 20);
    CHECK(e.texts[0].top1 == top1 / 20);
}

TEST_CASE("evaluate: stops when it is told to") {
    const gpt2::model m = load("int8_channel");
    const gpt2::tokenizer t(folder);
    serve::turns turns;
    int asked = 0;
    CHECK_THROWS_AS(serve::evaluate(m, m, t, prompts_of(t, {"a"}), 100, {}, turns, [&] { return ++asked > 5; }), serve::evaluation_stopped);
    CHECK(asked == 6);
}
