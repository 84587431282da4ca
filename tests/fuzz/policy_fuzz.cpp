// policy::parse, any_format::parse and glob_match: what is accepted is written and read back equal, and the pattern matching that never goes
// back far agrees with the one that tries everything.
#include <qnt/model/policy.hpp>

#include "fuzz.hpp"

namespace {

// Row p of a table, from the last to the first: [t], does the rest of the pattern match the rest of the text?
bool matches(std::string_view pattern, std::string_view text) {
    std::vector<char> row(text.size() + 1), below(text.size() + 1);
    row[text.size()] = true;
    for (std::size_t p = pattern.size(); p-- > 0;) {
        std::swap(row, below);
        row[text.size()] = pattern[p] == '*' && below[text.size()];
        for (std::size_t t = text.size(); t-- > 0;)
            row[t] = pattern[p] == '*' ? below[t] || row[t + 1] : (pattern[p] == '?' || pattern[p] == text[t]) && below[t + 1];
    }
    return row[0];
}

void check_formats(const qnt::policy& p, std::string_view name) {
    const std::string weight = std::string(name) + ".weight";
    for (const std::string_view tensor : {name, std::string_view(weight)}) {
        const std::string_view stem = tensor.ends_with(".weight") ? tensor.substr(0, tensor.size() - 7) : tensor;
        const auto rule = std::ranges::find_if(p.rules(), [&](const auto& r) { return matches(r.pattern, tensor) || matches(r.pattern, stem); });
        const auto format = p.format_for(tensor);
        FUZZ_CHECK(format.has_value() == (rule != p.rules().end()));
        if (format) FUZZ_CHECK(*format == rule->format);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text(data, size);
    if (const auto format = qnt::any_format::parse(text)) {
        const auto again = qnt::any_format::parse(format->name());
        FUZZ_CHECK(again.has_value() && *again == *format && again->name() == format->name());
    } else {
        FUZZ_CHECK(!format.error().message.empty());
    }
    const auto p = [&] {
        const fuzz::memory_bound bound(size, 512);
        return qnt::policy::parse(text);
    }();
    if (!p) return fuzz::refused(p.error());
    const auto again = qnt::policy::parse(p->to_json());
    FUZZ_CHECK(again.has_value() && again->to_json() == p->to_json() && again->rules().size() == p->rules().size());
    for (std::size_t i = 0; i < p->rules().size(); ++i) {
        FUZZ_CHECK(again->rules()[i].pattern == p->rules()[i].pattern && again->rules()[i].format == p->rules()[i].format &&
                   again->rules()[i].outliers == p->rules()[i].outliers);
        check_formats(*p, p->rules()[i].pattern);  // a pattern is a name too
    }
    check_formats(*p, "transformer.h.0.mlp.c_fc");
    return 0;
}
