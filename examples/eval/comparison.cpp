#include "comparison.hpp"

#include <algorithm>
#include <tuple>

namespace eval {

namespace {

constexpr std::size_t worst_prompts = 6;

const json* reference_of(const std::vector<json>& results, const json& model) {
    for (const json& r : results)
        if (r["is_reference"].get<bool>() && r["model"] == model) return &r;
    return nullptr;
}

// Times as fast as the reference, by batch.
json speedup_of(const json& cost, const json* reference) {
    if (cost.is_null() || !reference || (*reference)["cost"].is_null()) return nullptr;
    json list = json::array();
    for (const json& b : cost["batches"])
        for (const json& r : (*reference)["cost"]["batches"]) {
            if (b["batch"] != r["batch"]) continue;
            const auto ratio = [&](const char* what) { return b[what]["median"].get<double>() / r[what]["median"].get<double>(); };
            list.push_back({{"batch", b["batch"]}, {"prefill", ratio("prefill_tok_s")}, {"decode", ratio("decode_tok_s")}});
        }
    return list;
}

json prompts_of(const json& prompts) {
    if (prompts.is_null()) return nullptr;
    json j = prompts;
    std::vector<json> all = j["results"];
    j.erase("results");
    const auto kl = [](const json& r) { return r["kl"].is_null() ? -1.0 : r["kl"].get<double>(); };
    std::stable_sort(all.begin(), all.end(), [&](const json& a, const json& b) { return kl(a) > kl(b); });
    if (all.size() > worst_prompts) all.resize(worst_prompts);
    j["worst"] = all;
    return j;
}

json row_of(const json& result, const json* reference) {
    json row;
    for (const char* key : {"name", "fingerprint"}) row[key] = result[key];
    row["model"] = result["model"]["name"];
    for (const char* key : {"format", "kv", "is_reference"}) row[key] = result[key];
    row["size"] = result["size"];
    row["size"].erase("matrices");
    for (const char* key : {"perplexity", "divergence"}) row[key] = result[key];
    row["prompts"] = prompts_of(result["prompts"]);
    row["cost"] = result["cost"];
    row["speedup"] = speedup_of(result["cost"], reference);
    return row;
}

}  // namespace

json comparison_of(const std::vector<json>& results) {
    std::vector<json> sorted = results;
    const auto key = [](const json& r) {
        return std::tuple(r["model"]["name"].get<std::string>(), !r["is_reference"].get<bool>(), -r["size"]["bytes"].get<double>(),
                          r["name"].get<std::string>());
    };
    std::sort(sorted.begin(), sorted.end(), [&](const json& a, const json& b) { return key(a) < key(b); });
    json j{{"schema", "qnt-eval-comparison/1"}, {"models", json::array()}, {"configurations", json::array()}};
    for (const json& r : sorted) {
        json model = r["model"];
        model["parameters"] = r["size"]["parameters"];
        model["protocol"] = r["protocol"];
        if (std::find(j["models"].begin(), j["models"].end(), model) == j["models"].end()) j["models"].push_back(model);
        j["configurations"].push_back(row_of(r, reference_of(sorted, r["model"])));
    }
    return j;
}

}  // namespace eval
