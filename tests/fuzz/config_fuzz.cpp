// GPT-2's configuration, from config.json or from the metadata of a .gguf: what is accepted is in its bounds, written and read back equal.
#include <gpt2/gguf.hpp>

#include "fuzz.hpp"

namespace {

bool is_equal(const gpt2::config& a, const gpt2::config& b) {
    for (const auto& bound : gpt2::size_bounds)
        if (a.*bound.size != b.*bound.size) return false;
    return a.layer_norm_epsilon == b.layer_norm_epsilon && a.bos_token_id == b.bos_token_id && a.eos_token_id == b.eos_token_id;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const fuzz::memory_bound bound(size, 512);
    const std::string_view text = fuzz::text(data, size);
    try {
        gpt2::config c;
        if (text.starts_with("GGUF")) {
            const auto file = qnt::gguf_file::view(fuzz::bytes(data, size), "input");
            if (!file) return fuzz::refused(file.error());
            c = gpt2::config_of(*file, "input");
        } else {
            c = gpt2::parse_config(text, "input");
        }
        for (const auto& b : gpt2::size_bounds) FUZZ_CHECK(c.*b.size > 0 && c.*b.size <= b.most);
        FUZZ_CHECK(c.n_embd % c.n_head == 0 && c.layer_norm_epsilon > 0 && c.layer_norm_epsilon < 1);
        FUZZ_CHECK(c.bos_token_id.value_or(0) < c.vocab_size && c.eos_token_id.value_or(0) < c.vocab_size);
        FUZZ_CHECK(is_equal(gpt2::parse_config(gpt2::to_json(c), "written"), c));
    } catch (const std::runtime_error& e) {
        if (contains(e.what(), "written:")) FUZZ_CHECK(!"what was written is refused");
        return fuzz::refused(e);
    }
    return 0;
}
