// policy: which tensor of a model gets which format. Rules are tried in order, the first whose pattern matches wins; a tensor that no
// rule matches is an error, never a default.
//
//     qnt::policy p{{"*.ln_*", qnt::keep<float>}, {"wte", qnt::use<qnt::int8_channel>}, {"*", qnt::use<qnt::int4<32>>}};
//     auto p = qnt::policy::parse(R"([["wte", "int8_channel"], ["*", "int4:32"]])");      // the same as JSON: [pattern, format] pairs
//
// A format may be followed by "+outliers:T": the columns whose inputs reach the magnitude T are kept as f16 (packed/outliers.hpp), which takes
// a calibration (checkpoint_tensor::input_absmax). "llmint8:T" is "int8_channel+outliers:T", and T may be left out with its colon: it is 6.
//
// In a pattern * stands for any characters (dots too), ? for one. The ".weight" behind the name of a tensor may be left out: "wte" is
// the rule of "wte.weight" too.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "../any_format.hpp"
#include "../io/json.hpp"

namespace qnt {

// Formats in rules: a quantized one, or numbers kept as T.
template <format_type F>
    requires is_static_group<F>
inline constexpr any_format use = format_of<F>();
template <scalar T> inline constexpr any_format keep = format_of<dense_format<T>>();

struct policy_rule {
    std::string pattern;
    any_format format;
    float outliers = 0;  // from this magnitude of its inputs on a column is an outlier; 0: none is

    // Errors: invalid_argument, naming the text and what would be right.
    static result<policy_rule> parse(std::string pattern, std::string_view format);
    // The format as parse() reads it back.
    std::string format_name() const;
};

class policy {
public:
    policy() = default;
    policy(std::initializer_list<policy_rule> rules) : rules_(rules) {}
    explicit policy(std::vector<policy_rule> rules) : rules_(std::move(rules)) {}

    // Errors: corrupt (not such JSON), invalid_argument (an unknown format), naming the rule.
    static result<policy> parse(std::string_view json);

    std::span<const policy_rule> rules() const { return rules_; }
    // The first that matches. Errors: not_found, naming the tensor.
    result<policy_rule> rule_for(std::string_view tensor) const;
    result<any_format> format_for(std::string_view tensor) const;
    // Does a rule ask for outlier columns?
    bool needs_calibration() const;
    // The JSON that parse() reads back.
    std::string to_json() const;

private:
    std::vector<policy_rule> rules_;
};

inline namespace QNT_BASELINE {

// Linear in pattern * text: on a mismatch only the last star takes one character more.
inline bool glob_match(std::string_view pattern, std::string_view text) {
    std::size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
    while (t < text.size()) {
        if (p < pattern.size() && (pattern[p] == '?' || (pattern[p] != '*' && pattern[p] == text[t]))) {
            ++p;
            ++t;
        } else if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            star_text = t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

// Does a rule's pattern mean this tensor? ".weight" behind its name may be left out.
inline bool pattern_matches(std::string_view pattern, std::string_view tensor) {
    return glob_match(pattern, tensor) || (tensor.ends_with(".weight") && glob_match(pattern, tensor.substr(0, tensor.size() - 7)));
}

namespace policy_detail {

inline result<policy_rule> parse_rule(std::string pattern, std::string_view text) {
    constexpr std::string_view short_name = "llmint8", suffix = "+outliers";
    const auto bad = [&](const std::string& why) {
        return error{errc::invalid_argument,
                     "format '" + printable(text) + "': " + why + "; outlier columns are asked for as int4:32+outliers:6 or llmint8:6"};
    };
    std::string_view format = text, threshold;
    if (text == short_name || text.starts_with("llmint8:")) {
        format = "int8_channel";
        threshold = text.substr(short_name.size());
    } else if (const std::size_t plus = text.find('+'); plus != text.npos) {
        format = text.substr(0, plus);
        if (!text.substr(plus).starts_with(suffix)) return bad("unknown suffix '" + printable(text.substr(plus)) + "'");
        threshold = text.substr(plus + suffix.size());
    } else {
        const auto plain = any_format::parse(text);
        return plain ? result<policy_rule>(policy_rule{std::move(pattern), *plain}) : plain.error();
    }
    const auto parsed = any_format::parse(format);
    if (!parsed) return parsed.error();
    if (parsed->info.is_dense()) return bad(parsed->name() + " has no codes to keep columns beside");
    policy_rule r{std::move(pattern), *parsed, outlier_threshold};
    if (threshold.empty()) return r;
    const char* const last = threshold.data() + threshold.size();
    const auto [end, problem] = std::from_chars(threshold.data() + 1, last, r.outliers);
    if (threshold[0] != ':' || problem != std::errc() || end != last || !(r.outliers > 0) || !is_finite(r.outliers))
        return bad("the threshold must be a positive number");
    return r;
}

inline result<policy> parse(std::string_view text) {
    auto document = parse_json(text);
    if (!document) return error{document.error().code, "policy: " + document.error().message};
    std::vector<policy_rule> rules;
    const auto bad = [&](const char* why) {
        return error{errc::corrupt,
                     "policy: rule " + std::to_string(rules.size()) + " " + why + "; a policy is a list of [\"pattern\", \"format\"] pairs"};
    };
    if (document->kind() != json_kind::array)
        return error{errc::corrupt, "policy: not a list; a policy is a list of [\"pattern\", \"format\"] pairs"};
    for (const json_value& rule : document->items()) {
        if (rule.kind() != json_kind::array || rule.items().size() != 2) return bad("is not a pair");
        auto pattern = rule.items()[0].as_string(), name = rule.items()[1].as_string();
        if (!pattern || !name) return bad("is not a pair of strings");
        auto parsed = policy_rule::parse(std::string(*pattern), *name);
        if (!parsed) return error{parsed.error().code, "policy: rule " + std::to_string(rules.size()) + ": " + parsed.error().message};
        rules.push_back(std::move(*parsed));
    }
    if (rules.empty()) return error{errc::corrupt, "policy: no rules; a policy is a list of [\"pattern\", \"format\"] pairs"};
    return policy(std::move(rules));
}

}  // namespace policy_detail
}  // namespace QNT_BASELINE

inline result<policy> policy::parse(std::string_view json) { return policy_detail::parse(json); }

inline result<policy_rule> policy_rule::parse(std::string pattern, std::string_view format) {
    return policy_detail::parse_rule(std::move(pattern), format);
}

inline std::string policy_rule::format_name() const {
    if (outliers == 0) return format.name();
    char text[32];
    return format.name() + "+outliers:" + std::string(text, std::to_chars(text, text + sizeof text, outliers).ptr);
}

inline bool policy::needs_calibration() const {
    return std::any_of(rules_.begin(), rules_.end(), [](const policy_rule& r) { return r.outliers != 0; });
}

inline result<any_format> policy::format_for(std::string_view tensor) const {
    const auto rule = rule_for(tensor);
    return rule ? result<any_format>(rule->format) : rule.error();
}

inline result<policy_rule> policy::rule_for(std::string_view tensor) const {
    for (const policy_rule& r : rules_)
        if (pattern_matches(r.pattern, tensor)) return r;
    return error{errc::not_found, "policy: no rule matches tensor '" + printable(tensor) + "'; end the list with a rule for \"*\""};
}

inline std::string policy::to_json() const {
    std::string out = "[";
    for (const policy_rule& r : rules_) out += (out.size() > 1 ? ", [" : "[") + json_escape(r.pattern) + ", " + json_escape(r.format_name()) + "]";
    return out + "]";
}

}  // namespace qnt
