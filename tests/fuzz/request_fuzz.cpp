// The bodies that qnt-serve takes: what is accepted is in range, what is refused is refused with 400 in words that may be shown. The first
// byte says which path the rest is for.
#include <serve/request.cpp>

#include "fuzz.hpp"

namespace {

const serve::defaults standard{.context = 64};
const serve::limits bounds;

void check(const serve::generate_request& r) {
    const gpt2::sampling& s = r.sampling;
    FUZZ_CHECK(s.temperature >= 0 && s.temperature <= 100);
    FUZZ_CHECK(s.top_k >= 0 && s.top_p > 0 && s.top_p <= 1);
    FUZZ_CHECK(s.max_new_tokens >= 1 && s.max_new_tokens <= 64);
    FUZZ_CHECK(!r.prompts.empty() && r.prompts.size() * r.choices <= bounds.prompts);
    for (const serve::prompt_input& p : r.prompts) {
        if (const auto* text = std::get_if<std::string>(&p)) FUZZ_CHECK(!text->empty() && qnt::is_utf8(*text));
        else FUZZ_CHECK(!std::get<1>(p).empty() && std::ranges::min(std::get<1>(p)) >= 0);
    }
    FUZZ_CHECK(r.stops.size() <= bounds.stop_strings);
    for (const std::string& stop : r.stops) FUZZ_CHECK(!stop.empty() && stop.size() <= bounds.stop_bytes && qnt::is_utf8(stop));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view body = fuzz::text(data + 1, size - 1);
    const fuzz::memory_bound bound(size, 256);
    try {
        if (data[0] == 'e') {
            const serve::evaluate_request r = serve::parse_evaluate(body, standard, bounds);
            FUZZ_CHECK(r.prompts.size() <= bounds.prompts && r.max_new_tokens >= 1 && r.max_new_tokens <= 64);
        } else {
            const bool is_openai = data[0] == 'o';
            const serve::generate_request r = (is_openai ? serve::parse_completions : serve::parse_generate)(body, standard, bounds);
            check(r);
            FUZZ_CHECK(is_openai || r.is_array == (r.prompts.size() > 1));
        }
    } catch (const serve::api_error& e) {
        FUZZ_CHECK(e.status == 400 && qnt::printable(e.field, e.field.size() + 1) == e.field);
        return fuzz::refused(e);
    }
    return 0;
}
