// The engine against gpt2::generate, and what happens around it: cancelling, deadlines, a full queue, the order of jobs.
#include <serve/engine.hpp>

#include <algorithm>
#include <future>

#include <gpt2/load.hpp>
#include <qnt/thread_pool.hpp>

#include "catch.hpp"

namespace {

const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

const gpt2::model& model() {
    static const gpt2::model m = gpt2::load_model(folder, {.weights = {{"*", qnt::any_format::parse("int8_channel").value()}}}, {});
    return m;
}
const gpt2::tokenizer& tokenizer() {
    static const gpt2::tokenizer t(folder);
    return t;
}

gpt2::sampling drawn(std::size_t count, std::uint64_t seed) { return {.temperature = 0.9f, .top_k = 40, .seed = seed, .max_new_tokens = count}; }

std::string alone(const std::string& text, const gpt2::sampling& sampling) {
    std::string out;
    gpt2::utf8_stream stream;
    gpt2::generate(model(), tokenizer().encode(text), sampling,
                   [&](std::int32_t id) { return out += stream.push(tokenizer().token_bytes(id)), true; });
    return out + stream.finish();
}

// A job and what its engine said, for a test to wait for.
struct request {
    std::shared_ptr<serve::job> job = std::make_shared<serve::job>();
    std::vector<serve::completion> ends;
    std::vector<std::string> texts;  // as they were shown
    std::promise<void> begun, all;

    explicit request(const std::vector<std::string>& prompts, const gpt2::sampling& sampling) {
        for (const std::string& p : prompts) job->prompts.push_back({tokenizer().encode(p), sampling});
        texts.resize(prompts.size());
        job->on_text = [this](std::size_t i, std::string&& text) {
            if (std::ranges::all_of(texts, [](const std::string& t) { return t.empty(); })) begun.set_value();
            texts[i] += text;
        };
        job->on_end = [this](serve::completion&& c) {
            ends.push_back(std::move(c));
            if (ends.size() == job->prompts.size()) all.set_value();
        };
    }
    void wait() { REQUIRE(all.get_future().wait_for(serve::seconds(120)) == std::future_status::ready); }
    void wait_for_text() { REQUIRE(begun.get_future().wait_for(serve::seconds(120)) == std::future_status::ready); }
};

struct engine_and_limits {
    serve::limits bounds;
    serve::turns turns;
    std::optional<serve::engine> engine;
    explicit engine_and_limits(std::size_t batch = 16, std::size_t queue = 32) {
        bounds.batch = batch;
        bounds.queue = queue;
        engine.emplace(model(), tokenizer(), qnt::executor_ref(), turns, bounds);
    }
};

double ended(const engine_and_limits& e, serve::ending why) { return e.engine->metrics().ended[std::size_t(why)].value(); }

}  // namespace

TEST_CASE("engine: every text is the one that gpt2::generate makes alone") {
    engine_and_limits e(3);  // fewer than there are texts: some wait
    std::vector<std::unique_ptr<request>> requests;
    std::vector<std::string> prompts{"The old house", "Water", "x", "In the first years of the century the city", "1 2 3"};
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        requests.push_back(std::make_unique<request>(std::vector{prompts[i], prompts[0]}, drawn(10 + i, i)));
        REQUIRE(e.engine->submit(requests.back()->job));
    }
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        request& r = *requests[i];
        r.wait();
        for (const serve::completion& c : r.ends) {
            CHECK(c.text == alone(c.index == 0 ? prompts[i] : prompts[0], drawn(10 + i, i)));
            CHECK(c.text == r.texts[c.index]);
            CHECK(c.tokens == 10 + i);
            CHECK(c.ended == serve::ending::length);
            CHECK(c.prompt_tokens == r.job->prompts[c.index].ids.size());
            CHECK(c.total_s >= c.first_token_s);
            CHECK(c.first_token_s >= c.queue_s);
        }
    }
    CHECK(e.engine->metrics().tokens.value() == 2 * (10 + 11 + 12 + 13 + 14));
    CHECK(ended(e, serve::ending::length) == 10);
}

TEST_CASE("engine: a stop string ends a text, and the sequence with it") {
    engine_and_limits e;
    const gpt2::sampling greedy{.max_new_tokens = 60};
    const std::string whole = alone("The old house", greedy), stop = whole.substr(20, 5);
    request r({"The old house"}, greedy);
    r.job->stops = {stop};
    REQUIRE(e.engine->submit(r.job));
    r.wait();
    CHECK(r.ends[0].text == whole.substr(0, whole.find(stop)));
    CHECK(r.texts[0] == r.ends[0].text);
    CHECK(r.ends[0].ended == serve::ending::stop);
    CHECK(r.ends[0].tokens < 60);
}

TEST_CASE("engine: cancelling ends the work with the token at hand") {
    engine_and_limits e(2);
    request running({"The", "The"}, drawn(500, 1)), waiting({"The"}, drawn(500, 2));
    REQUIRE(e.engine->submit(running.job));
    running.wait_for_text();
    REQUIRE(e.engine->submit(waiting.job));
    waiting.job->cancel();
    waiting.wait();  // while others run
    CHECK(waiting.ends[0].ended == serve::ending::cancelled);
    CHECK(waiting.ends[0].tokens == 0);
    const double before = e.engine->metrics().tokens.value();
    running.job->cancel();
    running.wait();
    CHECK(e.engine->metrics().tokens.value() - before <= 2 * 2);  // a step under way, and one that saw it
    for (const serve::completion& c : running.ends) CHECK(c.ended == serve::ending::cancelled);
}

TEST_CASE("engine: a deadline ends texts with what they have, and those that wait with nothing") {
    engine_and_limits e(1);
    request running({"The"}, drawn(500, 1)), waiting({"The"}, drawn(500, 2));
    running.job->deadline = serve::clock::now() + serve::milliseconds(100);
    waiting.job->deadline = serve::clock::now() + serve::milliseconds(50);
    REQUIRE(e.engine->submit(running.job));
    REQUIRE(e.engine->submit(waiting.job));
    running.wait();
    waiting.wait();
    CHECK(waiting.ends[0].ended == serve::ending::deadline);
    CHECK(waiting.ends[0].tokens == 0);
    CHECK((running.ends[0].ended == serve::ending::deadline || running.ends[0].tokens == 500));
    CHECK(running.ends[0].text == running.texts[0]);
}

TEST_CASE("engine: a full queue refuses, and has room again") {
    engine_and_limits e(1, 2);
    request first({"The"}, drawn(500, 1)), two({"The", "The"}, drawn(3, 2)), more({"The"}, drawn(3, 3));
    REQUIRE(e.engine->submit(first.job));
    first.wait_for_text();
    REQUIRE(e.engine->submit(two.job));
    CHECK_FALSE(e.engine->submit(more.job));
    CHECK(e.engine->metrics().rejected.value() == 1);
    first.job->cancel();
    first.wait();
    two.wait();
    CHECK(e.engine->submit(more.job));
    more.wait();
    CHECK(more.ends[0].tokens == 3);
}

TEST_CASE("engine: a job of many prompts does not hold up one that comes after it") {
    engine_and_limits e(1);
    std::vector<std::string> order;
    request first({"The"}, drawn(100, 1)), many({"a", "b", "c", "d"}, drawn(5, 2)), one({"e"}, drawn(5, 3));
    many.job->on_end = [&](serve::completion&& c) {
        order.push_back("many");
        many.ends.push_back(std::move(c));
        if (many.ends.size() == 4) many.all.set_value();
    };
    one.job->on_end = [&](serve::completion&&) { order.push_back("one"); };
    REQUIRE(e.engine->submit(first.job));
    first.wait_for_text();
    REQUIRE(e.engine->submit(many.job));
    REQUIRE(e.engine->submit(one.job));
    many.wait();
    CHECK(order == std::vector<std::string>{"many", "one", "many", "many", "many"});
}

TEST_CASE("engine: shutting down ends what runs and refuses what comes") {
    engine_and_limits e(1);
    request running({"The"}, drawn(500, 1)), waiting({"The"}, drawn(5, 2)), late({"The"}, drawn(5, 3));
    REQUIRE(e.engine->submit(running.job));
    REQUIRE(e.engine->submit(waiting.job));
    running.wait_for_text();
    e.engine->shut_down();
    running.wait();
    waiting.wait();
    CHECK(running.ends[0].ended == serve::ending::shutdown);
    CHECK(running.ends[0].tokens > 0);
    CHECK(waiting.ends[0].ended == serve::ending::shutdown);
    CHECK_FALSE(e.engine->submit(late.job));
}

TEST_CASE("engine: what the model cannot run is refused before it waits") {
    engine_and_limits e;
    request empty({""}, drawn(5, 1)), cold({"a"}, {.temperature = -1});
    CHECK_THROWS_AS(e.engine->submit(empty.job), std::invalid_argument);
    CHECK_THROWS_AS(e.engine->submit(cold.job), std::invalid_argument);
    request full({std::string(2000, 'x')}, drawn(5, 1));
    full.job->prompts[0].ids.resize(513, 5);
    CHECK_THROWS_AS(e.engine->submit(full.job), std::invalid_argument);
}

TEST_CASE("turns: given in the order in which they were asked for") {
    serve::turns turns;
    std::vector<int> order;
    turns.lock();
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            turns.lock();
            order.push_back(i);
            turns.unlock();
        });
        std::this_thread::sleep_for(serve::milliseconds(30));
    }
    turns.unlock();
    for (std::thread& t : threads) t.join();
    CHECK(order == std::vector<int>{0, 1, 2, 3});
}
