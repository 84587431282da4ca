// What is asked for, and what has to be done for it: every model in every format with every type of keys and values.
//
//   eval::plan p = eval::make_plan(settings);        // checks all there is to check before anything runs or is written
//   for (const eval::configuration& c : p.configurations) ...
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <qnt/model/policy.hpp>

#include "../gpt2/windows.hpp"

namespace eval {

using json = nlohmann::ordered_json;

inline constexpr std::size_t parts_rows = 128;  // tokens that run at once: bounds the memory of logits

struct shard {
    std::size_t index = 1, count = 1;  // index from 1

    bool is_whole() const { return count == 1; }
    // Of `n` things: contiguous, in the order of shards.
    std::size_t begin(std::size_t n) const { return n * (index - 1) / count; }
    std::size_t end(std::size_t n) const { return n * index / count; }
};
// "2/4". Throws tools::usage_error.
shard parse_shard(const std::string& text);

struct settings {
    std::vector<std::string> models{"examples/models/qnt-gpt2-5m"}, formats, kvs{"f32"};
    std::string text, prompts = "examples/eval/prompts_96.json", calibrate, out, mode = "automatic";
    std::vector<std::size_t> batches{1};
    std::size_t tokens = 65536;  // to be scored
    std::size_t window = 0;      // 0: the context of the model
    std::size_t new_tokens = 40;
    std::size_t threads = 0;
    std::size_t speed_prompt = 0, speed_tokens = 0, repeats = 5;  // 0: what fits into the context, up to 128 and 64
    bool full = false, no_text = false, no_speed = false, force = false;
    eval::shard shard;

    std::size_t most() const { return full ? std::size_t(-1) : tokens; }
};

// How keys and values are kept: as qnt::kv_types has it ('+' for ',' in lists), or "none": every token computes all before it again. That has
// the same bits as f32, only later: quality is measured as f32, speed as it is.
struct kv_choice {
    std::string name;
    bool is_kept = true;
    std::string types = "f32";
};

struct prompt {
    std::string id, category, text;
};

struct configuration {
    std::string name;    // of its files: model, format, keys and values
    std::string model;   // path
    std::string format;  // as it was asked for, or the name of the policy's file
    qnt::policy weights;
    kv_choice kv;
    bool is_reference = false;  // f32 with f32 keys and values

    std::string model_name() const;
};

struct model_facts {
    std::string path, name;
    std::size_t context = 0, text_tokens = 0;
    std::string identity;  // JSON of all that its figures depend on
    json description;
    std::vector<gpt2::window> nonoverlap, stride;
};

struct plan {
    settings asked;
    std::vector<configuration> configurations;  // of each model the reference first
    std::vector<model_facts> models;            // in the order of settings
    std::vector<prompt> prompts;
    json text, prompt_file, calibration;  // facts for the protocol

    const model_facts& facts_of(const configuration& c) const;
    // What the figures of a configuration mean.
    json protocol_of(const configuration& c) const;
    // The text that its outlier columns were chosen by; null: it has none.
    json calibration_of(const configuration& c) const;
    // SHA-256 of all that they depend on: results with the same may be kept.
    std::string fingerprint_of(const configuration& c) const;
    std::string file_of(const configuration& c) const;        // its result
    std::string shard_file_of(const configuration& c) const;  // or that of this shard
};

// Formats and names only: what a worker needs. Throws tools::usage_error.
std::vector<configuration> configurations_of(const settings& s);
// Throws tools::usage_error for what cannot be asked (text, prompts, window, formats), std::runtime_error for a model that cannot be read.
plan make_plan(const settings& s);

std::vector<prompt> read_prompts(const std::string& path);
// A file that the plan needs, whole. Throws tools::usage_error.
std::string read_input(const std::string& path, const char* what);

// The two protocols of a text of that many tokens.
struct protocols {
    std::size_t length;
    std::vector<gpt2::window> nonoverlap, stride;
};
// Throws tools::usage_error for a window that the model or the text has no room for.
protocols protocols_of(const settings& s, const std::string& model_name, std::size_t context, std::size_t tokens);
struct speed_shape {
    std::size_t prompt, tokens;
};
speed_shape speed_shape_of(const settings& s, std::size_t context);

}  // namespace eval
