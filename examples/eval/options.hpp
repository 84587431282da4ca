// The command line of qnt-eval and qnt-eval-mpi.
#pragma once
#include <CLI/CLI.hpp>

#include "../gpt2/modes.hpp"
#include "../program.hpp"
#include "plan.hpp"

namespace eval {

inline void add_options(CLI::App& app, settings& s) {
    app.add_option("--model", s.models, "folders of Hugging Face, .safetensors or .gguf, of GPT-2s")->delimiter(',')->capture_default_str();
    app.add_option("--formats", s.formats,
                   "f16 int8 int8_channel llmint8 nf4:64 int4:32 ..., selective:N (the first N layers as int8, all else f32), file.json (a policy); "
                   "f32, which "
                   "the others are compared with, is always measured")
        ->delimiter(',');
    app.add_option("--calibrate", s.calibrate, "file of text whose inputs decide which columns llmint8 and +outliers:T keep as f16");
    app.add_option("--kv", s.kvs, "keys and values as f32, f16, int8, K+V as in f16+int8, or none (computed again for every token)")
        ->delimiter(',')
        ->capture_default_str();
    app.add_option("--text", s.text, "file to predict");
    app.add_option("--tokens", s.tokens, "of it to be scored, from its beginning")->check(CLI::PositiveNumber)->capture_default_str();
    app.add_flag("--full", s.full, "score all of it");
    app.add_option("--window", s.window, "tokens that a prediction may look at; 0: the model's context")->capture_default_str();
    app.add_option("--prompts", s.prompts, "JSON file of prompts by category")->capture_default_str();
    app.add_option("--new-tokens", s.new_tokens, "that each prompt is continued by")->check(CLI::Range(1, 1 << 20))->capture_default_str();
    app.add_option("--batch", s.batches, "sequences at once, for speed")->delimiter(',')->check(CLI::Range(1, 4096))->capture_default_str();
    app.add_option("--speed-prompt", s.speed_prompt, "tokens of a prompt, for speed; 0: 128, or half of the context")->capture_default_str();
    app.add_option("--speed-tokens", s.speed_tokens, "tokens behind it, for speed; 0: 64, or what has room")->capture_default_str();
    app.add_option("--repeats", s.repeats, "of each measurement of speed, after one to warm up")->check(CLI::Range(1, 1000))->capture_default_str();
    app.add_option("--mode", s.mode, "how products compute")->check(CLI::IsMember(gpt2::mode_names))->capture_default_str();
    tools::add_threads(app, s.threads);
    app.add_flag("--no-text", s.no_text, "no prompts");
    app.add_flag("--no-speed", s.no_speed, "no speed and memory: then a report has the same bytes on every machine");
    app.add_flag("--force", s.force, "measure again what is there");
    app.add_option("--out", s.out, "folder for the results");
}

}  // namespace eval
