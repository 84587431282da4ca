// Inputs of checkpoint_fuzz: an options byte, then tensors, each as name, dtype and rank (a byte each), u16 sizes and as many bytes as that
// makes. So every input is a safetensors file, whatever the fuzzer does to it, and only what the tensors hold is hostile.
#pragma once
#include <qnt/io/checkpoint.hpp>

#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace fuzz {

inline constexpr std::array checkpoint_names = {"fc.weight",
                                                "fc.weight.absmax",
                                                "fc.weight.quant_map",
                                                "fc.weight.nested_absmax",
                                                "fc.weight.nested_quant_map",
                                                "fc.weight.quant_state.bitsandbytes__nf4",
                                                "fc.weight.quant_state.bitsandbytes__fp4",
                                                "fc.SCB",
                                                "fc.weight_format",
                                                "fc.qweight",
                                                "fc.qzeros",
                                                "fc.scales",
                                                "fc.g_idx",
                                                "fc.bias"};
inline constexpr std::array checkpoint_dtypes = {qnt::safetensors_dtype::u8,   qnt::safetensors_dtype::i8,  qnt::safetensors_dtype::f16,
                                                 qnt::safetensors_dtype::bf16, qnt::safetensors_dtype::f32, qnt::safetensors_dtype::i32,
                                                 qnt::safetensors_dtype::i64};

struct checkpoint_input {
    unsigned options = 0;
    std::vector<qnt::named_array> tensors;
};

inline checkpoint_input decode_checkpoint(std::string_view in) {
    const auto byte = [&]() -> unsigned {
        if (in.empty()) return 0;
        const auto b = static_cast<unsigned char>(in[0]);
        in.remove_prefix(1);
        return b;
    };
    checkpoint_input c{byte(), {}};
    std::array<bool, checkpoint_names.size()> is_taken{};
    while (!in.empty()) {
        qnt::named_array a;
        const std::size_t name = byte() % checkpoint_names.size();
        a.name = checkpoint_names[name];
        a.dtype = checkpoint_dtypes[byte() % checkpoint_dtypes.size()];
        std::size_t bytes = qnt::safetensors_dtypes[std::size_t(a.dtype)].bits / 8;
        for (unsigned rank = byte() % 4; rank-- > 0;) {
            const unsigned low = byte();
            a.shape.push_back(low | byte() << 8);
            bytes *= a.shape.back();
        }
        if (bytes > 1 << 16 || is_taken[name]) break;
        is_taken[name] = true;
        a.bytes.resize(bytes);
        const std::size_t n = std::min(bytes, in.size());
        if (n > 0) std::memcpy(a.bytes.data(), in.data(), n);
        in.remove_prefix(n);
        c.tensors.push_back(std::move(a));
    }
    return c;
}

inline std::string encode_checkpoint(const checkpoint_input& c) {
    std::string out(1, char(c.options));
    for (const auto& a : c.tensors) {
        const auto index_in = [](const auto& all, const auto& v) { return char(std::find(all.begin(), all.end(), v) - all.begin()); };
        out += {index_in(checkpoint_names, a.name), index_in(checkpoint_dtypes, a.dtype), char(a.shape.size())};
        for (const std::size_t n : a.shape) out += {char(n & 255), char(n >> 8)};
        out.append(reinterpret_cast<const char*>(a.bytes.data()), a.bytes.size());
    }
    return out;
}

inline std::string safetensors_image(const std::vector<qnt::named_array>& tensors) {
    std::string header = "{", data;
    for (const auto& t : tensors) {
        if (header.size() > 1) header += ',';
        header += qnt::json_escape(t.name) + ":{\"dtype\":\"" + qnt::safetensors_dtypes[std::size_t(t.dtype)].name + "\",\"shape\":[";
        for (std::size_t i = 0; i < t.shape.size(); ++i) header += (i ? "," : "") + std::to_string(t.shape[i]);
        header += "],\"data_offsets\":[" + std::to_string(data.size()) + ',' + std::to_string(data.size() + t.bytes.size()) + "]}";
        data.append(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
    }
    header += '}';
    const std::uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

}  // namespace fuzz
