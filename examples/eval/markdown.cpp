#include <cmath>

#include "charts.hpp"
#include "comparison.hpp"
#include "svg.hpp"

namespace eval {

namespace {

using cells = std::vector<std::string>;

// What is no Markdown in a cell.
std::string plain(std::string_view s) {
    std::string out;
    for (const char c : s) {
        if (c == '\n' || c == '\r' || c == '\t') out += ' ';
        else if (static_cast<unsigned char>(c) < 0x20) out += "\xEF\xBF\xBD";
        else if (std::string_view("|\\`*_<>[]").find(c) != std::string_view::npos) out += std::string("\\") + c;
        else out += c;
    }
    return out;
}
std::string code(const std::string& s) { return "`" + s + "`"; }  // of names of ours
std::string line(const cells& c) {
    std::string s = "|";
    for (const std::string& x : c) s += " " + x + " |";
    return s + "\n";
}
std::string table(const cells& heads) { return line(heads) + line(cells(heads.size(), "---")); }
std::string number(const json& j, int digits, double times = 1) { return j.is_null() ? "-" : fixed(times * j.get<double>(), digits); }
std::string brief(const json& j) { return j.is_null() ? "-" : short_number(j.get<double>()); }

std::string quality_table(const rows& all) {
    std::string s = table({"configuration", "MB", "bits", "f16 columns %", "times smaller", "perplexity", "+-", "change %", "+-", "bits per byte",
                           "perplexity, stride", "change %"});
    for (const json* r : all) {
        const json &size = (*r)["size"], &a = (*r)["perplexity"]["nonoverlap"], &b = (*r)["perplexity"]["stride"];
        s += line({code(label_of(*r)), number(size["bytes"], 2, 1e-6), number(size["effective_bits"], 2), number(size["outlier_share"], 2, 100),
                   number(size["compression"], 2), number(a["ppl"], 4), number(a["standard_error"], 2), number(a["change_percent"], 3),
                   number(a["change_standard_error"], 3), number(a["bits_per_byte"], 4), number(b["ppl"], 4), number(b["change_percent"], 3)});
    }
    s += "\n" + table({"configuration", "KL mean", "+-", "median", "90 %", "99 %", "99.9 %", "max", "same first %", "shared of first 5 %",
                       "probability change, rms %"});
    for (const json* r : all) {
        if ((*r)["is_reference"].get<bool>()) continue;
        const json &d = (*r)["divergence"], &kl = d["kl"];
        s += line({code(label_of(*r)), brief(kl["mean"]), brief(kl["standard_error"]), brief(kl["median"]), brief(kl["p90"]), brief(kl["p99"]),
                   brief(kl["p99_9"]), brief(kl["max"]), number(d["top1_agreement"]["share"], 2, 100), number(d["top5_overlap"], 2, 100),
                   number(d["probability_change"]["rms"], 3, 100)});
    }
    return s + "\n";
}

std::string prompt_tables(const rows& all) {
    if (all[0]->at("prompts").is_null()) return "";
    std::string s =
        table({"configuration", "KL mean", "median", "min", "max", "characters alike", "token Jaccard", "equal tokens first", "identical %"});
    for (const json* r : all) {
        const json &p = (*r)["prompts"], &kl = p["kl"];
        if ((*r)["is_reference"].get<bool>() || p.is_null()) continue;
        s += line({code(label_of(*r)), brief(kl["mean"]), brief(kl["median"]), brief(kl["min"]), brief(kl["max"]),
                   number(p["character_similarity"], 3), number(p["token_jaccard"], 3), number(p["common_tokens"], 1),
                   number(p["identical"], 1, 100)});
    }
    cells heads{"characters alike"};
    for (const json& c : all[0]->at("prompts")["categories"]) heads.push_back(plain(c["category"].get<std::string>()));
    s += "\n" + table(heads);
    for (const json* r : all) {
        if ((*r)["is_reference"].get<bool>()) continue;
        cells row{code(label_of(*r))};
        for (const json& c : (*r)["prompts"]["categories"]) row.push_back(number(c["character_similarity"], 2));
        s += line(row);
    }
    s += "\nWorst prompts by KL divergence:\n\n" + table({"configuration", "prompt", "KL", "f32 goes on", "this goes on"});
    for (const json* r : all) {
        if ((*r)["is_reference"].get<bool>()) continue;
        for (std::size_t i = 0; i < std::min<std::size_t>(2, (*r)["prompts"]["worst"].size()); ++i) {
            const json& w = (*r)["prompts"]["worst"][i];
            s += line({code(label_of(*r)), plain(w["prompt"].get<std::string>()), brief(w["kl"]), plain(w["reference_text"].get<std::string>()),
                       plain(w["text"].get<std::string>())});
        }
    }
    return s + "\n";
}

std::string cost_table(const rows& all) {
    std::string s;
    for (const json* r : all) {
        if ((*r)["cost"].is_null()) continue;
        if (s.empty())
            s = table({"configuration", "batch", "first token ms", "prefill tok/s", "least to most", "decode tok/s", "least to most", "times f32",
                       "KV MB", "peak MB"});
        for (const json& b : (*r)["cost"]["batches"]) {
            std::string times = "-";
            if (!(*r)["speedup"].is_null())
                for (const json& x : (*r)["speedup"])
                    if (x["batch"] == b["batch"]) times = number(x["decode"], 2);
            const auto range = [&](const char* what) { return number(b[what]["least"], 1) + " to " + number(b[what]["most"], 1); };
            s += line({code(label_of(*r)), std::to_string(b["batch"].get<std::size_t>()), number(b["first_token_ms"]["median"], 2),
                       number(b["prefill_tok_s"]["median"], 1), range("prefill_tok_s"), number(b["decode_tok_s"]["median"], 1), range("decode_tok_s"),
                       times, number(b["kv_bytes"], 2, 1e-6), number((*r)["cost"]["peak_bytes"], 1, 1e-6)});
        }
    }
    return s.empty() ? s : s + "\n";
}

std::string protocol(const json& model) {
    const json& p = model["protocol"];
    const auto scoring = [&](const char* name) {
        const json& w = p[name];
        return std::to_string(w["scored_tokens"].get<std::size_t>()) + " tokens in " + std::to_string(w["windows"].get<std::size_t>()) +
               " windows of " + std::to_string(w["window"].get<std::size_t>()) + ", one every " + std::to_string(w["stride"].get<std::size_t>()) +
               ": " + plain(w["scored"].get<std::string>());
    };
    std::string s = "- Text: " + plain(p["text"]["name"].get<std::string>()) + ", " + std::to_string(p["text"]["bytes"].get<std::size_t>()) +
                    " bytes, " + std::to_string(p["text"]["tokens"].get<std::size_t>()) + " tokens, SHA-256 " + code(p["text"]["sha256"]) + "\n";
    s += "- Perplexity, KL: " + scoring("nonoverlap") + "\n- Perplexity, stride: " + scoring("stride") + "\n";
    s += "- Beginning of text: " + plain(p["bos"].get<std::string>()) + "\n- Reference: " + plain(p["reference"].get<std::string>()) + "\n";
    s += "- Products: " + plain(p["mode"].get<std::string>()) + "\n- Weights: SHA-256 " + code(model["weights_sha256"]) + "\n";
    if (!p["prompts"].is_null())
        s += "- Prompts: " + std::to_string(p["prompts"]["prompts"].get<std::size_t>()) + " of " + plain(p["prompts"]["name"].get<std::string>()) +
             ", " + std::to_string(p["prompts"]["new_tokens"].get<std::size_t>()) + " tokens each, " +
             plain(p["prompts"]["sampling"].get<std::string>()) + "\n";
    return s;
}

}  // namespace

std::string to_markdown(const json& comparison) {
    std::string s = "# qnt-eval\n\nKL divergences in nats; +- is one standard error, of a change token by token.\n";
    for (const json& model : comparison["models"]) {
        rows all;
        for (const json& c : comparison["configurations"])
            if (c["model"] == model["name"]) all.push_back(&c);
        if (all.empty()) continue;
        s += "\n## " + plain(model["name"].get<std::string>()) + "\n\n" + quality_table(all) + prompt_tables(all) + cost_table(all) + protocol(model);
    }
    return s;
}

}  // namespace eval
