// Runs the shipped GPT-2 model over a few tokens, in whole and in parts, in several formats, and prints a hash of all logits: the same
// on every machine, for every compiler and with all flags.
#include <gpt2/load.hpp>

#include <cstdio>

int main() {
    const std::vector<std::int32_t> ids{941, 6030, 401, 1471, 362, 941, 825, 825, 6030, 401, 1471, 362, 371, 352, 2159, 5438, 535, 3230, 85, 2322};
    unsigned long long hash = 14695981039346656037u;
    const auto add = [&](std::span<const float> logits) {
        for (const std::byte b : std::as_bytes(logits)) hash = (hash ^ std::to_integer<unsigned>(b)) * 1099511628211u;
    };
    for (const auto& [format, mode] : {std::pair{"f32", qnt::exact},
                                       {"int8_channel", qnt::int8_activations},
                                       {"nf4:64", qnt::int8_activations},
                                       {"int4:32", qnt::int8_activations},
                                       {"uint4:64", qnt::exact}}) {
        const gpt2::model model =
            gpt2::load_model("../../examples/models/qnt-gpt2-5m", {.weights = {{"*", qnt::any_format::parse(format).value()}}, .mode = mode});
        gpt2::session session(model, {});
        add(session.forward_all(ids));
        session.restart();
        add(session.forward(std::span(ids).first(13)));
        for (std::size_t i = 13; i < ids.size(); ++i) add(session.forward(std::span(ids).subspan(i, 1)));
        for (const char* types : {"f16", "int8", "f16,int8"}) {
            gpt2::session small(model, {}, qnt::kv_types::parse(types).value());
            add(small.forward(ids));
        }
    }
    std::printf("%016llx\n", hash);
}
