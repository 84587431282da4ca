// The batch against one sequence that is fed to a session token by token.
#include "gpt2/batch.hpp"
#include "gpt2/load.hpp"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <qnt/thread_pool.hpp>

#include "support.hpp"

namespace {

const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

const gpt2::model& model() {
    static const gpt2::model m = gpt2::load_model(folder, {.weights = {{"*", qnt::any_format::parse("int8_channel").value()}}}, {});
    return m;
}

std::vector<std::int32_t> random_ids(std::size_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::int32_t> ids(n);
    for (std::int32_t& id : ids) id = std::int32_t(random() % 8191);
    return ids;
}

struct request {
    std::vector<std::int32_t> prompt;
    gpt2::sampling sampling;
};

struct answer {
    std::vector<std::int32_t> ids;
    std::vector<float> logits;  // [ids, vocab]
    gpt2::finish finished = gpt2::finish::none;
};

answer alone(const request& r, qnt::kv_types kv = {}) {
    gpt2::session session(model(), {}, kv);
    gpt2::sampler choose(r.sampling);
    answer a;
    const std::size_t n_ctx = model().config().n_ctx, window = r.sampling.window;
    std::vector<std::int32_t> text = r.prompt;
    if (text.size() > n_ctx) text.erase(text.begin(), text.end() - std::ptrdiff_t(window));
    auto logits = session.forward(text);
    while (true) {
        a.logits.insert(a.logits.end(), logits.begin(), logits.end());
        a.ids.push_back(choose(logits));
        const auto& stop = r.sampling.stop_ids;
        if (std::count(stop.begin(), stop.end(), a.ids.back())) a.finished = gpt2::finish::stop;
        else if (a.ids.size() == r.sampling.max_new_tokens) a.finished = gpt2::finish::length;
        else if (session.position() == n_ctx && window == 0) a.finished = gpt2::finish::context;
        if (a.finished != gpt2::finish::none) return a;
        text.push_back(a.ids.back());
        const bool is_full = session.position() == n_ctx;
        if (is_full) session.restart();
        logits = session.forward(std::span(text).last(is_full ? window : 1));
    }
}

void collect(std::map<gpt2::sequence_id, answer>& answers, std::span<const gpt2::event> events) {
    for (const gpt2::event& e : events) {
        answer& a = answers[e.id];
        REQUIRE(a.finished == gpt2::finish::none);
        a.finished = e.finished;
        if (e.token >= 0) a.ids.push_back(e.token);
        a.logits.insert(a.logits.end(), e.logits.begin(), e.logits.end());
    }
}

void check_same(const answer& a, const answer& expected) {
    CHECK(a.ids == expected.ids);
    CHECK(test::same_bits(a.logits, expected.logits));
    CHECK(a.finished == expected.finished);
}

// Prompts of 1 to 200 tokens, greedy and drawn, of different lengths.
const std::vector<request>& requests() {
    static const std::vector<request> r{
        {random_ids(1, 1), {.max_new_tokens = 9}},
        {random_ids(200, 2), {.temperature = 0.8f, .top_k = 40, .seed = 7, .max_new_tokens = 5}},
        {random_ids(17, 3), {.temperature = 1.1f, .top_p = 0.9f, .seed = 8, .max_new_tokens = 12}},
        {random_ids(64, 4), {.max_new_tokens = 1}},
        {random_ids(5, 5), {.temperature = 0.9f, .seed = 9, .max_new_tokens = 7}},
        {random_ids(129, 6), {.max_new_tokens = 4}},
    };
    return r;
}

// Request i joins before step i * gap.
std::map<gpt2::sequence_id, answer> run_together(std::size_t gap, qnt::executor_ref executor, const gpt2::batch_options& options) {
    gpt2::batch batch(model(), executor, options);
    std::map<gpt2::sequence_id, answer> answers;
    std::size_t added = 0;
    for (std::size_t step = 0; added < requests().size() || !batch.idle(); ++step) {
        for (; added < requests().size() && added * gap <= step; ++added)
            REQUIRE(batch.add(requests()[added].prompt, requests()[added].sampling) == added + 1);
        collect(answers, batch.step());
        REQUIRE(batch.waiting() + options.max_sequences >= batch.size());
    }
    return answers;
}

}  // namespace

TEST_CASE("a batch gives each sequence the bits that it gets alone") {
    std::vector<answer> expected;
    for (const request& r : requests()) expected.push_back(alone(r));
    const auto check = [&](const std::map<gpt2::sequence_id, answer>& answers) {
        REQUIRE(answers.size() == expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
            INFO("sequence " << i + 1);
            check_same(answers.at(i + 1), expected[i]);
        }
    };
    qnt::thread_pool two(2);
    for (const std::size_t rows : {1u, 7u, 64u, 1000u})
        for (const std::size_t gap : {0u, 2u}) {
            INFO(rows << " rows a step, a new sequence every " << gap << " steps");
            check(run_together(gap, {}, {.max_rows_per_step = rows}));
            check(run_together(gap, two, {.max_rows_per_step = rows, .max_sequences = 2}));
        }
    test::on_every_isa([&](qnt::isa::id) { check(run_together(1, two, {.max_rows_per_step = 64})); });
    for (const char* types : {"f16", "int8", "f16,int8", "int8,f32"}) {
        INFO("keys and values " << types);
        const qnt::kv_types kv = qnt::kv_types::parse(types).value();
        for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = alone(requests()[i], kv);
        check(run_together(1, two, {.kv = kv, .max_rows_per_step = 7}));
        test::on_every_isa([&](qnt::isa::id) { check(run_together(2, {}, {.kv = kv, .max_rows_per_step = 64})); });
    }
}

TEST_CASE("a batch makes no step longer than it may; sequences begin in the order in which they came") {
    gpt2::batch batch(model(), {}, {.max_rows_per_step = 3});
    for (unsigned i = 0; i < 7; ++i) batch.add(random_ids(1 + i, i), {.max_new_tokens = 10});
    std::map<gpt2::sequence_id, std::size_t> tokens;
    while (!batch.idle()) {
        const auto events = batch.step();
        CHECK(events.size() <= 3);
        for (const gpt2::event& e : events) {
            if (tokens[e.id]++ == 0) CHECK(tokens.size() == e.id);
        }
    }
    for (const auto& [id, n] : tokens) CHECK(n == 10);
    CHECK(tokens.size() == 7);
}

TEST_CASE("a sequence ends at a stop id, at its length, when it is cancelled, and where the context ends") {
    const request r{random_ids(20, 11), {.max_new_tokens = 30}};
    const answer free = alone(r);
    request stopping = r;
    stopping.sampling.stop_ids = {free.ids[3], 17};
    const std::size_t first = std::size_t(std::find(free.ids.begin(), free.ids.end(), free.ids[3]) - free.ids.begin());
    const request full{random_ids(510, 12), {}};

    gpt2::batch batch(model());
    batch.add(stopping.prompt, stopping.sampling);
    batch.add(r.prompt, r.sampling);
    batch.add(full.prompt, full.sampling);
    const auto victim = batch.add(r.prompt, r.sampling), waiting = batch.add(random_ids(300, 13));
    std::map<gpt2::sequence_id, answer> answers;
    for (int i = 0; i < 2; ++i) collect(answers, batch.step());
    CHECK(batch.cancel(victim));
    CHECK_FALSE(batch.cancel(victim));
    CHECK(batch.cancel(waiting));
    CHECK_FALSE(batch.cancel(99));
    CHECK(batch.size() == 5);
    while (!batch.idle()) collect(answers, batch.step());
    CHECK_FALSE(batch.cancel(1));
    CHECK(batch.step().empty());

    check_same(answers[1], alone(stopping));
    CHECK(answers[1].finished == gpt2::finish::stop);
    CHECK(answers[1].ids == std::vector<std::int32_t>(free.ids.begin(), free.ids.begin() + std::ptrdiff_t(first) + 1));
    check_same(answers[2], free);
    CHECK(answers[2].finished == gpt2::finish::length);
    check_same(answers[3], alone(full));
    CHECK(answers[3].finished == gpt2::finish::context);
    CHECK(answers[3].ids.size() == 3);  // after 510, 511 and 512 tokens
    CHECK(answers[victim].finished == gpt2::finish::cancelled);
    CHECK(answers[waiting].finished == gpt2::finish::cancelled);
    CHECK(answers[waiting].ids.empty());
}

TEST_CASE("with a window a text goes on beyond the context, from its last tokens") {
    const std::vector<request> long_ones{
        {random_ids(500, 31), {.temperature = 0.8f, .seed = 5, .max_new_tokens = 30, .window = 500}},  // full twice
        {random_ids(700, 32), {.max_new_tokens = 4, .window = 512}},                                   // at every token
        {random_ids(513, 33), {.max_new_tokens = 5, .window = 1}},
        {random_ids(512, 34), {.max_new_tokens = 1, .window = 8}},
        {random_ids(3, 35), {.max_new_tokens = 20}},
    };
    qnt::thread_pool two(2);
    for (const std::size_t rows : {5u, 64u, 2000u}) {
        INFO(rows << " rows a step");
        gpt2::batch batch(model(), two, {.max_rows_per_step = rows, .max_sequences = 4});
        for (const request& r : long_ones) batch.add(r.prompt, r.sampling);
        std::map<gpt2::sequence_id, answer> answers;
        while (!batch.idle()) {
            collect(answers, batch.step());
            CHECK(batch.size() - batch.waiting() <= 4);
        }
        for (std::size_t i = 0; i < long_ones.size(); ++i) {
            INFO("sequence " << i + 1);
            check_same(answers.at(i + 1), alone(long_ones[i]));
            CHECK(answers.at(i + 1).finished == gpt2::finish::length);
        }
    }
}

TEST_CASE("memory of ended sequences serves the next ones") {
    gpt2::batch batch(model());
    const auto run = [&] {
        for (unsigned i = 0; i < 3; ++i) batch.add(random_ids(100, i), {.max_new_tokens = 3});
        while (!batch.idle()) batch.step();
        return batch.kv_bytes();
    };
    const std::size_t bytes = run();
    CHECK(bytes > 0);
    CHECK(run() == bytes);
}

TEST_CASE("generate() is a batch of one") {
    request r{random_ids(9, 21), {.temperature = 0.7f, .seed = 3, .max_new_tokens = 8}};
    const answer expected = alone(r);
    std::vector<std::int32_t> ids;
    const auto keep = [&](std::int32_t id) { return ids.push_back(id), ids.size() != 5; };
    CHECK(gpt2::generate(model(), r.prompt, r.sampling, keep) == gpt2::finish::cancelled);
    CHECK(ids == std::vector<std::int32_t>(expected.ids.begin(), expected.ids.begin() + 5));
    ids.clear();
    r.sampling.stop_ids = {expected.ids[2]};
    CHECK(gpt2::generate(model(), r.prompt, r.sampling, keep) == gpt2::finish::stop);
    CHECK(ids.size() <= 2);
}

TEST_CASE("a batch refuses what cannot run, and stays as it was") {
    gpt2::batch batch(model());
    const auto message = [&](std::span<const std::int32_t> prompt, const gpt2::sampling& s) -> std::string {
        try {
            batch.add(prompt, s);
        } catch (const std::invalid_argument& e) {
            return e.what();
        }
        return "";
    };
    const std::vector<std::int32_t> good{1, 2}, beyond{1, 8192}, negative{-1}, long_prompt(513, 5);
    CHECK(message({}, {}) == "the prompt is empty: it needs at least one token");
    CHECK(message(beyond, {}) == "token 8192 is not in the vocabulary of 8192");
    CHECK(message(negative, {}) == "token -1 is not in the vocabulary of 8192");
    CHECK(message(long_prompt, {}) == "the prompt has 513 tokens, the model's context has room for 512");
    CHECK(message(good, {.window = 513}) == "window is 513, the model's context has room for 512 tokens");
    CHECK(message(good, {.stop_ids = {8192}}) == "stop id 8192 is not in the vocabulary of 8192");
    CHECK(message(good, {.max_new_tokens = 0}).find("max_new_tokens must be at least 1") == 0);
    CHECK(message(good, {.temperature = -1}).find("temperature must be") == 0);
    CHECK(message(good, {.temperature = std::numeric_limits<float>::quiet_NaN()}).find("temperature must be") == 0);
    CHECK(batch.idle());
    CHECK(batch.step().empty());
    CHECK_THROWS_AS(gpt2::batch(model(), {}, {.max_rows_per_step = 0}), std::invalid_argument);
    CHECK_THROWS_AS(gpt2::batch(model(), {}, {.max_sequences = 0}), std::invalid_argument);
}
