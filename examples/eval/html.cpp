// One page that needs nothing but a browser: no script runs, nothing is fetched; the comparison is in it as JSON.
#include <cmath>

#include "charts.hpp"
#include "comparison.hpp"
#include "style.hpp"
#include "svg.hpp"

namespace eval {

namespace {

const std::string dash = "\xE2\x80\x93";  // where nothing was measured
std::string or_dash(const json& j, int digits) { return j.is_null() ? dash : fixed(number(j), digits); }
std::string percent(const json& share, int digits) { return or_dash(share.is_null() ? share : json(100 * number(share)), digits) + " %"; }
std::string small(const std::string& text) { return " <small>" + text + "</small>"; }
std::string plus_minus(const json& error, int digits) { return error.is_null() ? "" : small("\xC2\xB1 " + fixed(number(error), digits)); }
std::string signed_percent(double x) { return (x > 0 ? "+" : x < 0 ? "\xE2\x88\x92" : "") + fixed(std::abs(x), 2) + " %"; }
std::string megabytes(const json& bytes) { return bytes.is_null() ? dash : short_number(number(bytes) / 1e6); }
std::string brief(const json& j) { return j.is_null() ? dash : short_number(number(j)); }
std::string grouped(std::size_t n) {
    std::string s = std::to_string(n);
    for (std::size_t i = s.size(); i > 3; i -= 3) s.insert(i - 3, 1, ',');
    return s;
}
std::string cell(const std::string& html) { return "<td>" + html + "</td>"; }

std::string heads(const std::vector<const char*>& names) {
    std::string s = "<thead><tr>";
    for (const char* n : names) s += std::string("<th>") + n + "</th>";
    return s + "</tr></thead>\n";
}

std::string outliers_of(const json& size) {
    const double share = number(size["outlier_share"]);
    return share > 0 ? small(fixed(100 * share, 1) + " % f16") : "";
}

std::string quality_table(const rows& all) {
    const bool has_prompts = !all[0]->at("prompts").is_null();
    std::vector<const char*> names{"configuration",  "weights<br>MB",   "bits per<br>weight", "times<br>smaller",    "perplexity",          "change",
                                   "with<br>stride", "KL mean<br>mnat", "KL 99 %<br>mnat",    "same first<br>token", "first five<br>shared"};
    if (has_prompts) names.push_back("equal<br>texts");
    std::string s = "<div class=\"scroll\"><table id=\"quality\">" + heads(names) + "<tbody>\n";
    for (const json* row : all) {
        const json &r = *row, &size = r["size"], &ppl = r["perplexity"]["nonoverlap"], &d = r["divergence"];
        const bool is_reference = r["is_reference"].get<bool>();
        s += "<tr data-c=\"" + escaped(r["name"].get<std::string>()) + "\">" + cell(escaped(label_of(r))) + cell(megabytes(size["bytes"])) +
             cell(fixed(number(size["effective_bits"]), 2) + outliers_of(size)) + cell(fixed(number(size["compression"]), 2)) +
             cell(or_dash(ppl["ppl"], 3) + plus_minus(ppl["standard_error"], 2));
        s += cell(is_reference ? "reference" : signed_percent(number(ppl["change_percent"])) + plus_minus(ppl["change_standard_error"], 2));
        s += cell(or_dash(r["perplexity"]["stride"]["ppl"], 3));
        s += cell(fixed(1e3 * number(d["kl"]["mean"]), 3)) + cell(fixed(1e3 * number(d["kl"]["p99"]), 2));
        s += cell(percent(d["top1_agreement"]["share"], 2)) + cell(percent(d["top5_overlap"], 2));
        if (has_prompts) s += cell(r["prompts"].is_null() ? dash : percent(r["prompts"]["identical"], 0));
        s += "</tr>\n";
    }
    return s + "</tbody></table></div>\n";
}

std::string cost_table(const rows& all) {
    std::string s;
    for (const json* row : all) {
        const json &r = *row, &c = r["cost"];
        if (c.is_null()) continue;
        for (std::size_t i = 0; i < c["batches"].size(); ++i) {
            const json& b = c["batches"][i];
            const auto rate = [&](const char* what) {
                return cell(fixed(number(b[what]["median"]), 1) +
                            small(fixed(number(b[what]["least"]), 0) + " to " + fixed(number(b[what]["most"]), 0)));
            };
            std::string prefill_times = dash, decode_times = dash;
            if (!r["speedup"].is_null())
                for (const json& x : r["speedup"])
                    if (x["batch"] == b["batch"]) {
                        prefill_times = fixed(number(x["prefill"]), 2);
                        decode_times = fixed(number(x["decode"]), 2);
                    }
            s += "<tr data-c=\"" + escaped(r["name"].get<std::string>()) + "\">" + cell(i == 0 ? escaped(label_of(r)) : "") +
                 cell(std::to_string(b["batch"].get<std::size_t>())) + cell(fixed(number(b["first_token_ms"]["median"]), 2)) + rate("prefill_tok_s") +
                 cell(prefill_times) + rate("decode_tok_s") + cell(decode_times) + cell(megabytes(b["kv_bytes"])) +
                 cell(i == 0 ? megabytes(c["peak_bytes"]) : "") + cell(i == 0 ? megabytes(c["peak_load_bytes"]) : "") +
                 cell(i == 0 ? fixed(number(c["load_s"]), 2) : "") + "</tr>\n";
        }
    }
    if (s.empty()) return s;
    return "<section class=\"card\"><h3>Speed and memory</h3><p class=\"note\">Of all sequences together; median, least and most of the repeats. "
           "Memory of the whole "
           "process.</p>\n<div class=\"scroll\"><table id=\"cost\">" +
           heads({"configuration", "sequences", "first token<br>ms", "prompt tokens<br>a second", "times<br>f32", "tokens generated<br>a second",
                  "times<br>f32", "keys, values<br>MB", "memory<br>MB", "while loading<br>MB", "loading<br>s"}) +
           "<tbody>\n" + s + "</tbody></table></div></section>\n";
}

std::string tile(const std::string& head, const std::string& value, const std::string& foot) {
    return "<div class=\"tile\"><span>" + escaped(head) + "</span><b>" + escaped(value) + "</b><span>" + escaped(foot) + "</span></div>\n";
}

// What a reader in a hurry wants to know.
std::string tiles(const rows& all) {
    const json *smallest = nullptr, *closest = nullptr, *fastest = nullptr;
    const auto change = [](const json* r) { return number((*r)["perplexity"]["nonoverlap"]["change_percent"]); };
    const auto bytes = [](const json* r) { return number((*r)["size"]["bytes"]); };
    const auto kl = [](const json* r) { return number((*r)["divergence"]["kl"]["mean"]); };
    const auto speed = [](const json* r) {
        return (*r)["speedup"].is_null() || (*r)["speedup"].empty() ? 0.0 : number((*r)["speedup"][0]["decode"]);
    };
    for (const json* r : all) {
        if ((*r)["is_reference"].get<bool>()) continue;
        if (change(r) < 1 && (!smallest || bytes(r) < bytes(smallest))) smallest = r;
        if (bytes(r) < 0.5 * number((*r)["size"]["f32_bytes"]) && (!closest || kl(r) < kl(closest))) closest = r;
        if (speed(r) > 0 && (!fastest || speed(r) > speed(fastest))) fastest = r;
    }
    std::string s = "<div class=\"tiles\">\n";
    if (smallest)
        s += tile("smallest within 1 % of perplexity", label_of(*smallest),
                  fixed(number((*smallest)["size"]["compression"]), 2) + " times smaller, " + signed_percent(change(smallest)));
    if (closest)
        s += tile("closest to f32 at less than half its size", label_of(*closest),
                  "KL " + short_number(kl(closest)) + ", same first token " +
                      fixed(100 * number((*closest)["divergence"]["top1_agreement"]["share"]), 2) + " %");
    if (fastest)
        s += tile("fastest, one sequence", label_of(*fastest),
                  fixed(speed(fastest), 2) + " times f32, " + fixed(number((*fastest)["cost"]["batches"][0]["decode_tok_s"]["median"]), 0) +
                      " tokens a second");
    return s + "</div>\n";
}

std::string chart_card(const std::string& title, const std::string& note, const std::string& chart) {
    if (chart.empty()) return "";
    return "<section class=\"card\"><h3>" + title + "</h3><p class=\"note\">" + note + "</p>\n" + chart + "</section>\n";
}

std::string charts(const rows& all) {
    std::string s = "<div class=\"charts\">\n";
    s += chart_card("Size and perplexity",
                    "Lower left is better. Bars: standard error of the difference from f32, token by token; rings: keys and values not f32.",
                    size_chart(all));
    s += chart_card("How far predictions move",
                    "Tokens by the KL divergence of their prediction from f32, equal areas for equal shares. Solid line: median; dashed: 99 %.",
                    kl_chart(all));
    s += chart_card("Generating", "Tokens a second, all sequences together. Medians; lines from the slowest to the fastest repeat.",
                    speed_chart(all, "decode_tok_s", "tokens generated a second"));
    s += chart_card("Reading prompts", "The same for the tokens of prompts.", speed_chart(all, "prefill_tok_s", "tokens of prompts a second"));
    s += chart_card(
        "KL divergence by category",
        "Mean over the prompts of a category, thousandths of a nat, while both models read the text of f32. The stronger the colour, the worse.",
        heat_map(all, "kl"));
    s += chart_card("Similarity of texts by category", "Characters in common with the text of f32, 1 if equal. The stronger the colour, the worse.",
                    heat_map(all, "character_similarity"));
    return s + "</div>\n";
}

// The text of a configuration with what differs from the reference marked.
std::string marked(const std::string& text, const std::string& reference) {
    std::size_t same = std::size_t(std::mismatch(text.begin(), text.end(), reference.begin(), reference.end()).first - text.begin());
    while (same > 0 && same < text.size() && (static_cast<unsigned char>(text[same]) & 0xC0) == 0x80) --same;  // whole characters
    const std::string rest = text.substr(same);
    return escaped(text.substr(0, same)) + (rest.empty() ? "" : "<mark>" + escaped(rest) + "</mark>");
}

std::string worst_prompts(const rows& all) {
    std::string s;
    for (const json* r : all) {
        if ((*r)["is_reference"].get<bool>() || (*r)["prompts"].is_null() || (*r)["prompts"]["worst"].empty()) continue;
        const json& p = (*r)["prompts"];
        s += std::string("<details") + (s.empty() ? " open" : "") + "><summary>" + escaped(label_of(*r)) + " <span>KL of a prompt: mean " +
             (p["kl"].is_null() ? dash : brief(p["kl"]["mean"]) + ", worst " + brief(p["kl"]["max"])) +
             "</span></summary>\n<div class=\"scroll\"><table class=\"text\">" + heads({"prompt", "KL", "f32 goes on", "this goes on"}) + "<tbody>\n";
        for (std::size_t i = 0; i < std::min<std::size_t>(3, p["worst"].size()); ++i) {
            const json& w = p["worst"][i];
            const std::string text = w["text"], reference = w["reference_text"];
            s += "<tr>" + cell("<small>" + escaped(w["id"].get<std::string>()) + "</small>") + cell(brief(w["kl"])) + "<td class=\"q\"><small>" +
                 escaped(w["prompt"].get<std::string>()) + "</small>" + escaped(reference) + "</td><td class=\"q\"><small>" +
                 escaped(w["prompt"].get<std::string>()) + "</small>" + marked(text, reference) + "</td></tr>\n";
        }
        s += "</tbody></table></div></details>\n";
    }
    return s.empty() ? ""
                     : "<section class=\"card\"><h3>Worst prompts</h3><p class=\"note\">Greedy texts; what differs from f32 is marked.</p>\n" + s +
                           "</section>\n";
}

std::string worst_tokens(const rows& all) {
    std::string s;
    for (const json* r : all) {
        const json& worst = (*r)["divergence"]["worst_tokens"];
        if (worst.empty()) continue;
        s += std::string("<details") + (s.empty() ? " open" : "") + "><summary>" + escaped(label_of(*r)) + " <span>largest KL " +
             short_number(number((*r)["divergence"]["kl"]["max"])) + "</span></summary>\n<div class=\"scroll\"><table class=\"text\">" +
             heads({"KL", "in its context", "probability, f32 and this", "first guess, f32 and this"}) + "<tbody>\n";
        for (std::size_t i = 0; i < std::min<std::size_t>(5, worst.size()); ++i) {
            const json& w = worst[i];
            s += "<tr>" + cell(short_number(number(w["kl"]))) + "<td class=\"q\"><small>\xE2\x80\xA6" + escaped(w["before"].get<std::string>()) +
                 "</small><mark>" + escaped(w["token"].get<std::string>()) + "</mark></td>" +
                 cell(short_number(number(w["reference_probability"])) + ", " + short_number(number(w["probability"]))) + "<td><code>" +
                 escaped(w["reference_guess"].get<std::string>()) + "</code>, <code>" + escaped(w["guess"].get<std::string>()) +
                 "</code></td></tr>\n";
        }
        s += "</tbody></table></div></details>\n";
    }
    return s.empty() ? ""
                     : "<section class=\"card\"><h3>Worst tokens</h3><p class=\"note\">Where predictions of the text differ most.</p>\n" + s +
                           "</section>\n";
}

std::string protocol_list(const json& model, const json& configuration) {
    const json& p = model["protocol"];
    std::string s = "<section class=\"card\"><h3>Protocol</h3><dl>\n";
    const auto add = [&](const char* name, const std::string& html) { s += "<dt>" + std::string(name) + "</dt><dd>" + html + "</dd>\n"; };
    const auto scoring = [](const json& w) {
        return grouped(w["scored_tokens"].get<std::size_t>()) + " tokens scored in " + grouped(w["windows"].get<std::size_t>()) + " windows of " +
               std::to_string(w["window"].get<std::size_t>()) + ", one every " + std::to_string(w["stride"].get<std::size_t>()) + ": " +
               escaped(w["scored"].get<std::string>());
    };
    add("text", escaped(p["text"]["name"].get<std::string>()) + ", " + grouped(p["text"]["bytes"].get<std::size_t>()) + " bytes, " +
                    grouped(p["text"]["tokens"].get<std::size_t>()) + " tokens, SHA-256 <code>" + escaped(p["text"]["sha256"].get<std::string>()) +
                    "</code>");
    add("perplexity, KL", scoring(p["nonoverlap"]));
    add("perplexity, stride", scoring(p["stride"]));
    add("beginning of text", escaped(p["bos"].get<std::string>()));
    add("reference", escaped(p["reference"].get<std::string>()));
    add("products", escaped(p["mode"].get<std::string>()));
    add("weights", "SHA-256 <code>" + escaped(model["weights_sha256"].get<std::string>()) + "</code>");
    if (!p["prompts"].is_null())
        add("prompts", std::to_string(p["prompts"]["prompts"].get<std::size_t>()) + " of " + escaped(p["prompts"]["name"].get<std::string>()) + ", " +
                           std::to_string(p["prompts"]["new_tokens"].get<std::size_t>()) + " tokens each, " +
                           escaped(p["prompts"]["sampling"].get<std::string>()));
    if (const json& c = configuration["cost"]; !c.is_null())
        add("speed", escaped(c["cpu"].get<std::string>()) + ", " + escaped(c["isa"].get<std::string>()) + ", " +
                         std::to_string(c["threads"].get<std::size_t>()) + " threads; prompts of " +
                         std::to_string(c["prompt_tokens"].get<std::size_t>()) + " tokens, " + std::to_string(c["new_tokens"].get<std::size_t>()) +
                         " tokens generated; median of " + std::to_string(c["repeats"].get<std::size_t>()) +
                         " repeats after one to warm up; a process for each configuration");
    return s + "</dl></section>\n";
}

std::string model_section(const json& model, const rows& all) {
    const std::string parameters = short_number(model["parameters"].get<double>() / 1e6) + " million weights";
    return "<h2>" + escaped(model["name"].get<std::string>()) + "</h2>\n<p class=\"soft\">" + parameters + ", " +
           std::to_string(model["layers"].get<std::size_t>()) + " layers of " + std::to_string(model["width"].get<std::size_t>()) + ", context " +
           grouped(model["context"].get<std::size_t>()) + ", vocabulary " + grouped(model["vocabulary"].get<std::size_t>()) + "</p>\n" + tiles(all) +
           "<section class=\"card\"><h3>Quality</h3><p class=\"note\">Beside the same model in f32; \xC2\xB1 is one standard error. mnat: a "
           "thousandth of a "
           "nat.</p>\n" +
           quality_table(all) + "</section>\n" + charts(all) + cost_table(all) + worst_prompts(all) + worst_tokens(all) +
           protocol_list(model, *all.front());
}

// JSON that no parser of HTML can take for anything else.
std::string embedded(const json& j) {
    std::string out;
    for (const char c : j.dump(-1, ' ', false, json::error_handler_t::replace)) out += c == '<' ? std::string("\\u003c") : std::string(1, c);
    return out;
}

}  // namespace

std::string to_html(const json& comparison) {
    std::string s =
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, "
        "initial-scale=1\">\n"
        "<title>qnt-eval</title>\n<style>" +
        std::string(style_sheet) +
        "</style>\n</head>\n<body>\n<main>\n<h1>What was lost, what was gained</h1>\n"
        "<p class=\"soft\">Quantized models beside the same model in f32, measured by qnt-eval.</p>\n";
    for (const json& model : comparison["models"]) {
        rows all;
        for (const json& c : comparison["configurations"])
            if (c["model"] == model["name"]) all.push_back(&c);
        if (!all.empty()) s += model_section(model, all);
    }
    return s + "</main>\n<script type=\"application/json\" id=\"comparison\">" + embedded(comparison) + "</script>\n</body>\n</html>\n";
}

}  // namespace eval
