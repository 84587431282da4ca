// Which tensor becomes what: a policy whose formats are names still, because each kind of file has its own.
//
//   tools::rules rules = tools::read_rules("policy.json");      // [["*.ln_*", "f32"], ["*", "q4_0"]]: the first match wins
//   rules.format_for("h.0.mlp.c_fc")                            // "q4_0"
#pragma once
#include <qnt/io/file.hpp>
#include <qnt/io/json.hpp>
#include <qnt/model/policy.hpp>

#include "../program.hpp"

namespace tools {

struct rule {
    std::string pattern, format;
};

class rules {
public:
    explicit rules(std::vector<rule> all) : all_(std::move(all)) {}
    std::span<const rule> all() const { return all_; }

    // Throws std::runtime_error: a tensor that no rule matches gets no default.
    const std::string& format_for(const std::string& tensor) const {
        for (const rule& r : all_)
            if (qnt::pattern_matches(r.pattern, tensor)) return r.format;
        throw std::runtime_error("policy: no rule matches tensor " + qnt::in_quotes(tensor) + "; end the list with a rule for \"*\"");
    }
    std::string to_json() const {  // as read_rules() reads it
        std::string text = "[";
        for (const rule& r : all_) text += (text.size() > 1 ? ", [" : "[") + qnt::json_escape(r.pattern) + ", " + qnt::json_escape(r.format) + "]";
        return text + "]";
    }
    // Throws: a format that the library does not know.
    qnt::policy as_policy() const {
        std::vector<qnt::policy_rule> out;
        for (const rule& r : all_) out.push_back(qnt::policy_rule::parse(r.pattern, r.format).value());
        return qnt::policy(std::move(out));
    }

private:
    std::vector<rule> all_;
};

inline rules read_rules(const std::string& path) {
    const auto bytes = qnt::read_file(path).value();
    const auto document = qnt::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (!document) throw std::runtime_error(path + ": " + document.error().message);
    const auto bad = [&](const std::string& what) {
        return std::runtime_error(path + ": " + what + "; a policy is a list of [\"pattern\", \"format\"] pairs");
    };
    if (document->kind() != qnt::json_kind::array || document->items().empty()) throw bad("no list of rules");
    std::vector<rule> all;
    for (const qnt::json_value& pair : document->items()) {
        const bool is_pair = pair.kind() == qnt::json_kind::array && pair.items().size() == 2;
        const auto pattern = is_pair ? pair.items()[0].as_string() : pair.as_string(), format = is_pair ? pair.items()[1].as_string() : pattern;
        if (!is_pair || !pattern || !format) throw bad("rule " + std::to_string(all.size()) + " is not a pair of strings");
        all.push_back({std::string(*pattern), std::string(*format)});
    }
    return rules(std::move(all));
}

}  // namespace tools
