// The program qnt-generate, beside direct calls of the library.
#include "gpt2/batch.hpp"
#include "gpt2/load.hpp"
#include "gpt2/tokenizer.hpp"

#include <nlohmann/json.hpp>

#include "examples/programs.hpp"

namespace {

const std::string folder = QNT_SOURCE_DIR "/examples/models/qnt-gpt2-5m";

outcome generate(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), QNT_GENERATE);
    return run(std::move(arguments));
}
nlohmann::json generate_json(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"-n", "8", "--json"});
    const outcome o = generate(std::move(arguments));
    INFO(o.err);
    REQUIRE(o.exit_code == 0);
    return nlohmann::json::parse(o.out);
}

// Greedily, as the program does without other options.
std::vector<std::int32_t> ids_of(const char* format, const std::string& prompt) {
    const gpt2::model m = gpt2::load_model(folder, {.weights = {{"*", qnt::any_format::parse(format).value()}}});
    std::vector<std::int32_t> ids;
    gpt2::generate(m, gpt2::tokenizer(folder).encode(prompt), {.max_new_tokens = 8}, [&](std::int32_t id) { return ids.push_back(id), true; });
    return ids;
}

}  // namespace

TEST_CASE("qnt-generate: a folder runs as int8_channel, or as it is asked to") {
    const auto plain = generate_json({"--model", folder, "--prompt", "The old house"});
    CHECK(plain["format"] == "int8_channel");
    CHECK(plain["ids"] == ids_of("int8_channel", "The old house"));
    const auto asked = generate_json({"--model", folder, "--prompt", "The old house", "--format", "nf4:64"});
    CHECK(asked["format"] == "nf4:64");
    CHECK(asked["ids"] == ids_of("nf4:64", "The old house"));
    CHECK(asked["model_bytes"] < plain["model_bytes"]);
    CHECK(asked["finished"] == "length");
    CHECK(asked["kv"] == "f32");
    CHECK(generate_json({"--model", folder, "--prompt", "The old house", "--kv", "f16,int8"})["kv_bytes"] < asked["kv_bytes"]);
}

TEST_CASE("qnt-generate: beyond the context with a window, to its end without") {
    const std::vector<std::string> common{"--model", folder, "--prompt", "Once", "--format", "int8_channel"};
    const auto longer = [&](std::vector<std::string> more) {
        more.insert(more.begin(), common.begin(), common.end());
        more.insert(more.end(), {"--json", "-n", "540"});
        const outcome o = generate(more);
        INFO(o.err);
        REQUIRE(o.exit_code == 0);
        return nlohmann::json::parse(o.out);
    };
    const auto full = longer({"--temperature", "1"}), slid = longer({"--temperature", "1", "--window", "256"});
    CHECK(full["finished"] == "context");
    REQUIRE(slid["finished"] == "length");
    REQUIRE(slid["ids"].size() == 540);
    REQUIRE(full["ids"].size() + full["prompt_ids"].size() == 513);
    CHECK(std::equal(full["ids"].begin(), full["ids"].end(), slid["ids"].begin()));
}

TEST_CASE("qnt-generate: ends before the first stop string, alone and in a batch") {
    const auto whole = generate_json({"--model", folder, "--prompt", "The old house"});
    const std::string text = whole["text"];
    REQUIRE(text.size() > 12);
    const std::string stop = text.substr(7, 3), before = text.substr(0, text.find(stop));
    const auto cut = generate_json({"--model", folder, "--prompt", "The old house", "--stop", "\n\n\n", "--stop", stop});
    CHECK(cut["text"] == before);
    CHECK(cut["finished"] == "stop");
    CHECK(cut["ids"].size() < whole["ids"].size());
    CHECK(std::equal(cut["ids"].begin(), cut["ids"].end(), whole["ids"].begin()));

    const outcome plain = generate({"--model", folder, "--prompt", "The old house", "-n", "8", "--stop", stop});
    CHECK(plain.out == "The old house" + before + "\n");
    const temp_folder at;
    write_text(at / "prompts", "The old house\nOnce upon a time\n");
    const auto batch = generate_json({"--model", folder, "--batch", at / "prompts", "--stop", stop});
    CHECK(batch["sequences"][0]["text"] == before);
    CHECK(batch["sequences"][1]["ids"] == generate_json({"--model", folder, "--prompt", "Once upon a time", "--stop", stop})["ids"]);
}

TEST_CASE("qnt-generate: a .qnt runs in its own formats, mapped or in memory, and in no others") {
    const temp_folder at;
    REQUIRE(run({QNT_QUANTIZE, folder, at / "m.qnt", "--format", "int4:32"}).exit_code == 0);
    const auto mapped = generate_json({"--model", at / "m.qnt", "--prompt", "Once"});
    CHECK(mapped["format"] == "int4:32");
    CHECK(mapped["ids"] == ids_of("int4:32", "Once"));
    CHECK(generate_json({"--model", at / "m.qnt", "--prompt", "Once", "--in-memory"})["ids"] == mapped["ids"]);
    CHECK(generate_json({"--model", at / "m.qnt", "--prompt", "Once", "--format", "int4:32"})["ids"] == mapped["ids"]);
    const outcome other = generate({"--model", at / "m.qnt", "--format", "nf4:64"});
    CHECK(other.exit_code == 1);
    CHECK(contains(other.err, "tensor \"wte.weight\": is int4:32, asked for was nf4:64"));
}

TEST_CASE("qnt-generate: a batch is its prompts one by one, keys and values in any type") {
    const temp_folder at;
    write_text(at / "prompts", "The old house\nOnce upon a time\n");
    for (const char* kv : {"f32", "f16,int8"}) {
        const auto batch = generate_json({"--model", folder, "--batch", at / "prompts", "--kv", kv});
        REQUIRE(batch["sequences"].size() == 2);
        for (const auto& sequence : batch["sequences"])
            CHECK(sequence["ids"] == generate_json({"--model", folder, "--prompt", sequence["prompt"], "--kv", kv})["ids"]);
    }
    const outcome stats = generate({"--model", folder, "-n", "4", "--stats"});
    CHECK(stats.exit_code == 0);
    for (const char* part : {"keys and values:", "prefill: 1 steps", "decode: 3 steps", "attention", "mlp", "head"}) CHECK(contains(stats.err, part));
}

TEST_CASE("qnt-generate: what it cannot do is one line and exit 1; wrong usage is exit 2") {
    check_refused(generate({"--model", "/nowhere"}), 1, "/nowhere");
    check_refused(generate({"--model", folder, "--format", "int5"}), 1, "format 'int5': unknown");
    check_refused(generate({"--model", folder, "--kv", "f8"}), 1, "'f8' is no type of keys and values");
    check_refused(generate({"--model", folder, "--prompt", ""}), 1, "the prompt is empty");
    check_refused(generate({"--mode", "fast"}), 2, "--mode");
    for (const char* seed : {"-1", "18446744073709551616", ""})
        check_refused(generate({"--model", folder, "--seed", seed}), 2, std::string("--seed: \"") + seed + "\" is no integer from 0 to 2^64 - 1");
    check_refused(generate({"--model", folder, "--threads", "0"}), 2, "--threads: Value 0 not in range");
    check_refused(generate({"--model", folder, "--stop", ""}), 2, "--stop: an empty text stops nothing");
    check_refused(generate({"--model", folder, "--temperature", ""}), 2, "--temperature: \"\" is no number");
    check_refused(generate({"--model", folder, "--top-k", ""}), 2, "--top-k: \"\" is no number");
    check_refused(generate({"--model", folder, "--window", "513"}), 1, "window is 513, the model's context has room for 512 tokens");
    CHECK(generate({"--model", folder, "--seed", "18446744073709551615", "-n", "1"}).exit_code == 0);
}
