// A checkpoint into a .gguf: blocks as ggml's reference quantizers make them, names and metadata of GPT-2 as llama.cpp has them.
#pragma once
#include "job.hpp"
#include "measure.hpp"

namespace tools {

// The types that are written, by the names of rules.
inline qnt::gguf_type gguf_type_named(const std::string& format) {
    using type = qnt::gguf_type;
    constexpr std::pair<const char*, type> names[] = {
        {"f32", type::f32},   {"f16", type::f16},      {"bf16", type::bf16}, {"int8:32", type::q8_0},
        {"q8_0", type::q8_0}, {"int4:32", type::q4_0}, {"q4_0", type::q4_0}, {"q4_1", type::q4_1},
    };
    for (const auto& [name, t] : names)
        if (format == name) return t;
    throw std::runtime_error("format " + qnt::in_quotes(format) + ": GGUF is written as f32, f16, bf16, int8:32 (q8_0), int4:32 (q4_0) and q4_1");
}

struct gguf_plan {
    converted_tensor report;
    qnt::gguf_type type;
};

inline gguf_plan plan_gguf(const job& j, const qnt::checkpoint_tensor& t) {
    using type = qnt::gguf_type;
    const auto fail = [&](const std::string& what) { return std::runtime_error(j.in.path + ": tensor " + qnt::in_quotes(t.name) + ": " + what); };
    gguf_plan p{{}, gguf_type_named(j.policy.format_for(t.name))};
    converted_tensor& r = p.report;
    r.name = j.in.gpt2 ? gpt2::gguf_name(t.name) : t.name;
    r.shape = t.shape;
    r.is_kept = t.is_array || t.shape.size() != 2;
    const bool is_dense = p.type == type::f32 || p.type == type::f16 || p.type == type::bf16;
    if (r.is_kept && (!is_dense || t.shape.size() < 2)) p.type = type::f32;  // vectors are f32, as llama.cpp wants them
    if (!r.is_kept && t.transposed) std::swap(r.shape[0], r.shape[1]);
    const qnt::gguf_type_info& info = *qnt::find_gguf_type(std::uint32_t(p.type));
    const std::size_t cols = r.shape.empty() ? 1 : r.shape.back();
    if (cols % info.block != 0)
        throw fail("rows of " + std::to_string(cols) + " numbers are no whole blocks of " + std::to_string(info.block) + ", which " + info.name +
                   " needs");
    r.from = t.stored_as;
    r.to = info.name;
    r.elements = source::elements_of(t);
    r.bytes = r.information_bytes = r.elements / info.block * info.bytes;
    r.is_lossless = !r.is_kept && !is_dense && t.read_packed && !t.transposed && t.packed_transform == qnt::input_transform::none &&
                    t.packed_format == qnt::grid_of(p.type);
    return p;
}

// The blocks of a tensor; fills in the errors.
inline std::vector<std::byte> encode_gguf(const job& j, const qnt::checkpoint_tensor& t, gguf_plan& p) {
    const auto get = [&](auto r) {
        if (!r) throw std::runtime_error(j.in.path + ": tensor " + qnt::in_quotes(t.name) + ": " + r.error().message);
        return std::move(*r);
    };
    if (p.report.is_lossless) return get(qnt::gguf_encode(get(t.read_packed()).view(), j.executor));
    std::vector<float> space;
    std::span<const float> values = get(qnt::values_of(t, space));
    if (t.transposed) values = space = transposed(values, t.shape[0], t.shape[1]);
    const std::vector<std::byte> blocks = get(qnt::gguf_encode(p.type, values, j.executor));
    if (!p.report.is_kept) {
        const std::size_t rows = p.report.shape[0], cols = p.report.shape[1], row_bytes = rows ? blocks.size() / rows : 0;
        const auto decode = [&](std::size_t row, std::span<float> out) {
            qnt::gguf_decode(std::uint32_t(p.type), std::span(blocks).subspan(row * row_bytes, row_bytes), out).value();
        };
        p.report.errors = measure(values, rows, cols, decode, j.executor);
    }
    return blocks;
}

inline void set_metadata(qnt::gguf_writer& out, const job& j) {
    if (j.in.gpt2) {
        if (!j.in.tokenizer) throw std::runtime_error(j.in.path + ": there is no tokenizer beside it, which a GGUF file of GPT-2 has");
        gpt2::set_gguf_metadata(out, *j.in.gpt2, *j.in.tokenizer);
    } else if (j.in.gguf) {
        for (const auto& [key, value] : j.in.gguf->metadata())
            if (key != "general.file_type" && key != "general.alignment" && key != "general.quantization_version" && !key.starts_with("qnt."))
                out.set(key, value).value();
    }
    for (const auto& [key, value] : provenance_of(j)) out.set("qnt." + key, value).value();
}

inline std::vector<converted_tensor> to_gguf(const job& j) {
    std::vector<gguf_plan> plans;
    qnt::gguf_writer out;
    set_metadata(out, j);
    for (const qnt::checkpoint_tensor& t : j.in.tensors) {
        plans.push_back(plan_gguf(j, t));
        out.declare(plans.back().report.name, plans.back().type, plans.back().report.shape).value();
    }
    if (!j.is_plan) {
        steps work(j);
        out.begin(j.out).value();
        for (std::size_t i = 0; i < plans.size(); ++i) {
            if (!work.before(i)) throw interruption();
            const qnt::checkpoint_tensor& t = j.in.tensors[i];
            out.write(plans[i].report.name, encode_gguf(j, t, plans[i])).value();
            if (t.forget) t.forget();
        }
        if (interrupted) throw interruption();
        out.finish().value();
    }
    std::vector<converted_tensor> tensors;
    for (gguf_plan& p : plans) tensors.push_back(std::move(p.report));
    return tensors;
}

}  // namespace tools
