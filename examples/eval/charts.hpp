// The pictures of a report, as SVG. Every mark says in data- attributes which configuration and number it shows, every picture its axes: what is
// seen can be checked against the JSON.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace eval {

using json = nlohmann::ordered_json;
using rows = std::vector<const json*>;  // configurations of one model, the reference first

// What people call a configuration, among those of its model.
std::string label_of(const json& row);
double number(const json& j);  // NaN: null, it was not measured

std::string size_chart(const rows& all);                                        // bytes of weights, perplexity
std::string kl_chart(const rows& all);                                          // distribution over tokens
std::string speed_chart(const rows& all, const char* what, const char* title);  // "prefill_tok_s" or "decode_tok_s"
std::string heat_map(const rows& all, const char* what);                        // by category: "kl" or "character_similarity"

}  // namespace eval
