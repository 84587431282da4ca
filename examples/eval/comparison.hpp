// All configurations side by side.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace eval {

using json = nlohmann::ordered_json;

// Of results as result.hpp makes them. Rows: by model, in each the reference first, then from the largest weights to the smallest: the order in
// which they were measured does not count. comparison.schema.json describes it.
json comparison_of(const std::vector<json>& results);

// The reports made of it.
std::string to_markdown(const json& comparison);
std::string to_html(const json& comparison);

}  // namespace eval
