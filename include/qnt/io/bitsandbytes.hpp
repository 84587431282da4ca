// Checkpoints of bitsandbytes 0.50 (4-bit QuantState, LLM.int8) in safetensors files, read and written.
//
//     auto file = qnt::safetensors_file::open("model.safetensors").value();
//     auto what = qnt::find_bitsandbytes(file, "fc.weight").value();              // nothing: a tensor like any other
//     auto w    = qnt::read_bitsandbytes(file, "fc.weight", pool).value();        // any_matrix: the same codes and scales, in panels
//     auto all  = qnt::write_bitsandbytes("fc.weight", view, {.nested = true}).value();   // named_array: for a safetensors writer
//
// 4 bits: X.weight is u8 [ceil(n / 2), 1], the flattened matrix, the first of two codes in the high nibble; blocks of `blocksize` run
// over it, the last one may be short. X.weight.absmax f32 [blocks], X.weight.quant_map f32 [16], and X.weight.quant_state.bitsandbytes__nf4
// (or fp4), a JSON text. Nested: absmax is u8 and means quant_map2[absmax[i]] * absmax2[i / 256] + offset, in f32, with
// X.weight.nested_absmax and X.weight.nested_quant_map. LLM.int8: X.weight i8 [out, in], X.SCB f32 [out], X.weight_format = 0.
//
// nf4 becomes nf4:B, nested nf4_dq:B, fp4 fp4_bnb:B: every weight keeps its bits. Where a row is no whole number of blocks, B is the largest
// group that divides both. LLM.int8 becomes int8_channel with scales SCB / 127; its weights, code * fl(SCB / 127), are within 2 ulp of
// bitsandbytes' fl(fl(code * SCB) * fl(1 / 127)), which read_bitsandbytes_f32() computes.
#pragma once
#include <numeric>

#include "checkpoint.hpp"

namespace qnt {

enum class bitsandbytes_kind : std::uint8_t { nf4, fp4, llm_int8 };
constexpr const char* name_of(bitsandbytes_kind k) { return k == bitsandbytes_kind::nf4 ? "nf4" : k == bitsandbytes_kind::fp4 ? "fp4" : "llm_int8"; }

// What a quantized tensor is, and which tensors of the file it is made of.
struct bitsandbytes_tensor {
    bitsandbytes_kind kind = bitsandbytes_kind::nf4;
    std::vector<std::size_t> shape;  // of the weights
    std::string dtype;               // that bitsandbytes dequantizes to: float32, float16, bfloat16
    std::size_t blocksize = 0;       // 4 bits
    bool nested = false;
    std::size_t nested_blocksize = 0;
    float nested_offset = 0;
    std::vector<std::string> parts;  // the tensors' names, the weights first
};

struct bitsandbytes_options {
    bitsandbytes_kind kind = bitsandbytes_kind::nf4;
    std::size_t blocksize = 64;            // 4 bits: 32, 64, .. 4096
    bool nested = false;                   // 4 bits
    scalar_type dtype = scalar_type::f32;  // 4 bits: that bitsandbytes will dequantize to
};

namespace detail {
inline namespace QNT_BASELINE {

inline bool is_blocksize(std::size_t n) { return n >= 32 && n <= 4096 && (n & (n - 1)) == 0; }

// The JSON text of a 4-bit tensor. Errors name the field.
inline result<void> parse_quant_state(std::string_view text, bool nested, bitsandbytes_tensor& t) {
    std::string type;
    bool has_shape = false, has_offset = false;
    json_reader in(text);
    const auto field = [&](std::string_view key) -> result<void> {
        if (key == "quant_type") return assign(type, in.string());
        if (key == "blocksize") return assign(t.blocksize, in.uint64());
        if (key == "dtype") return assign(t.dtype, in.string());
        if (key == "shape") return has_shape = true, read_shape(in, t.shape);
        if (nested && key == "nested_blocksize") return assign(t.nested_blocksize, in.uint64());
        if (!nested || key != "nested_offset") return in.skip();
        const auto number = in.number();
        if (!number) return number.error();
        double offset = 0;
        has_offset = parse_number(*number, offset) && is_finite(t.nested_offset = float(offset));
        return has_offset ? result<void>() : in.fail(printable(*number) + " is no finite f32");
    };
    QNT_TRY(in.object([&](std::string_view key) -> result<void> {
        const auto r = field(key);
        return r ? r : error{r.error().code, "field " + in_quotes(key) + ": " + r.error().message};
    }));
    QNT_TRY(in.end());
    const auto fail = [](const std::string& what) { return error{errc::corrupt, what}; };
    if (type != name_of(t.kind))
        return fail("field \"quant_type\": " + in_quotes(type) + ", must be \"" + name_of(t.kind) + "\" as in the tensor's name");
    if (t.dtype.empty()) return fail("field \"dtype\" is missing");
    if (!has_shape) return fail("field \"shape\" is missing");
    const auto check = [&](const char* name, std::size_t n) -> result<void> {
        if (is_blocksize(n)) return {};
        return fail(std::string("field \"") + name + "\": " + std::to_string(n) + ", must be a power of two from 32 to 4096");
    };
    QNT_TRY(check("blocksize", t.blocksize));
    if (!nested) return {};
    QNT_TRY(check("nested_blocksize", t.nested_blocksize));
    if (!has_offset) return fail("field \"nested_offset\" is missing");
    return {};
}

// 4-bit weights with what they are multiplied by.
struct bitsandbytes_blocks {
    std::span<const std::byte> bytes;
    std::size_t elements = 0;
    std::vector<float> table;    // [16]
    std::vector<float> absmax;   // of each block
    bool is_dynamic_u8 = false;  // nested by the map and block size of nf4_dq

    std::uint8_t code(std::size_t i) const { return std::uint8_t(i % 2 ? unsigned(bytes[i / 2]) & 15 : unsigned(bytes[i / 2]) >> 4); }
};

inline result<bitsandbytes_blocks> read_blocks(const safetensors_file& file, const std::string& name, const bitsandbytes_tensor& t) {
    bitsandbytes_blocks b;
    const safetensors_tensor& weight = *file.find(name).value();
    if (!count_elements(t.shape, b.elements))
        return bad_tensor(file, t.parts[1], "field \"shape\": " + shape_text(t.shape) + ": the number of elements overflows 64 bits");
    b.bytes = weight.data;  // U8, or another type that the same bytes were stored as (quant_storage)
    if (b.bytes.size() != ceil_div(b.elements, 2))
        return bad_tensor(file, name,
                          std::to_string(b.bytes.size()) + " bytes, shape " + shape_text(t.shape) + " of its quant_state needs " +
                              std::to_string(ceil_div(b.elements, 2)));
    const std::size_t sixteen[] = {16}, blocks[] = {ceil_div(b.elements, t.blocksize)};
    auto table = read_part_f32(file, name + ".quant_map", sixteen);
    if (!table) return table.error();
    b.table = std::move(*table);
    if (!t.nested) {
        auto absmax = read_part_f32(file, name + ".absmax", blocks);
        if (!absmax) return absmax.error();
        b.absmax = std::move(*absmax);
        return b;
    }
    const std::size_t levels[] = {256}, outer[] = {ceil_div(blocks[0], t.nested_blocksize)};
    const auto codes = find_part(file, name + ".absmax", safetensors_dtype::u8, blocks);
    const auto map = read_part_f32(file, name + ".nested_quant_map", levels), top = read_part_f32(file, name + ".nested_absmax", outer);
    if (!codes) return codes.error();
    if (!map) return map.error();
    if (!top) return top.error();
    b.is_dynamic_u8 = t.nested_blocksize == nested_block && std::ranges::equal(*map, dynamic_u8::values);
    b.absmax.resize(blocks[0]);
    for (std::size_t i = 0; i < blocks[0]; ++i) b.absmax[i] = mul((*map)[std::size_t((*codes)[i])], (*top)[i / t.nested_blocksize]) + t.nested_offset;
    QNT_TRY(check_finite(file, name + ".absmax", b.absmax));
    return b;
}

struct bitsandbytes_int8 {
    const std::int8_t* codes = nullptr;
    std::size_t rows = 0, cols = 0;
    std::vector<float> absmax;  // of each row
};

inline result<bitsandbytes_int8> read_int8(const safetensors_file& file, const std::string& name, const bitsandbytes_tensor& t) {
    const safetensors_tensor& weight = *file.find(name).value();
    if (t.shape.size() != 2) return bad_tensor(file, name, "shape " + shape_text(t.shape) + ", must be [out,in]");
    bitsandbytes_int8 w{reinterpret_cast<const std::int8_t*>(weight.data.data()), t.shape[0], t.shape[1], {}};
    const std::size_t rows[] = {w.rows};
    auto absmax = read_part_f32(file, t.parts[1], rows);
    if (!absmax) return absmax.error();
    w.absmax = std::move(*absmax);
    if (t.parts.size() > 2) {
        const auto format = find_part(file, t.parts[2], safetensors_dtype::u8, {});
        if (!format) return format.error();
        if ((*format)[0] != std::byte{0})
            return bad_tensor(file, t.parts[2], "layout " + std::to_string(int((*format)[0])) + ", only 0 (row by row) can be read",
                              errc::unsupported);
    }
    return w;
}

// The groups that hold whole pieces of blocks, none across rows; 0: there are none.
inline std::size_t group_of_blocks(std::size_t rows, std::size_t cols, std::size_t blocksize) {
    if (rows == 1) return blocksize;
    const std::size_t g = std::gcd(cols, blocksize);
    return g % 16 == 0 ? g : 0;
}

// Blocks as groups of ours; nested: as nf4_dq nests.
inline any_format format_of_blocks(bitsandbytes_kind kind, bool is_nested, std::size_t group) {
    if (kind == bitsandbytes_kind::fp4) return {info_of<fp4_bnb<dynamic_group>>, group};
    return {is_nested ? info_of<nf4_dq<dynamic_group>> : info_of<nf4<dynamic_group>>, group};
}

inline result<any_matrix> pack_blocks(const safetensors_file& file, const std::string& name, const bitsandbytes_tensor& t, executor_ref executor) {
    const auto blocks = read_blocks(file, name, t);
    if (!blocks) return blocks.error();
    const bitsandbytes_blocks& b = *blocks;
    const auto refused = [&](std::string_view part, const std::string& why) {
        return bad_tensor(file, part, why + "; read_bitsandbytes_f32 decodes it", errc::unsupported);
    };
    if (t.shape.size() != 2 || b.elements == 0) return refused(name, "shape " + shape_text(t.shape) + " is no matrix [out,in]");
    const std::size_t rows = t.shape[0], cols = t.shape[1], group = group_of_blocks(rows, cols, t.blocksize);
    if (!group)
        return refused(name, "blocks of " + std::to_string(t.blocksize) + " cross rows of " + std::to_string(cols) +
                                 " columns, and no group that is a multiple of 16 divides both");
    const bool is_nf4 = t.kind == bitsandbytes_kind::nf4;
    if (!std::ranges::equal(b.table, is_nf4 ? nf4_code::values : fp4_bnb_code::values))
        return refused(name + ".quant_map", std::string("is not the table of ") + name_of(t.kind));
    return pack_matrix(
        format_of_blocks(t.kind, b.is_dynamic_u8, group), rows, cols,
        [&](std::size_t row, const unpacked_row& out) -> result<void> {
            const std::size_t first = row * cols;
            for (std::size_t k = 0; k < cols; ++k) out.codes[k] = b.code(first + k);
            for (std::size_t g = 0, k = 0; k < cols; ++g, k += group) out.scales[g] = b.absmax[(first + k) / t.blocksize];
            return {};
        },
        executor);
}

inline result<any_matrix> pack_int8(const safetensors_file& file, const std::string& name, const bitsandbytes_tensor& t, executor_ref executor) {
    const auto w = read_int8(file, name, t);
    if (!w) return w.error();
    if (w->rows == 0 || w->cols == 0) return bad_tensor(file, name, "shape " + shape_text(t.shape) + " has no weights", errc::unsupported);
    return pack_matrix(
        format_of<int8_channel>(), w->rows, w->cols,
        [&](std::size_t row, const unpacked_row& out) -> result<void> {
            const std::int8_t* codes = w->codes + row * w->cols;
            const void* least = std::memchr(codes, 0x80, w->cols);
            if (least)
                return bad_tensor(file, name,
                                  "row " + std::to_string(row) + ", column " + std::to_string(static_cast<const std::int8_t*>(least) - codes) +
                                      ": code -128, which bitsandbytes never makes and int8 panels do not hold; read_bitsandbytes_f32 decodes it",
                                  errc::unsupported);
            std::memcpy(out.codes, codes, w->cols);
            out.scales[0] = w->absmax[row] / 127.0f;
            return {};
        },
        executor);
}

inline result<bitsandbytes_tensor> expect_bitsandbytes(const safetensors_file& file, const std::string& name);

// ---- writing ----

template <class T> std::vector<std::byte> bytes_of_values(std::span<const T> values) {
    const auto bytes = std::as_bytes(values);
    return {bytes.begin(), bytes.end()};
}

// As Python's json.dumps() writes a float.
inline std::string python_float(double x) {
    char text[40];
    const auto print = [&](std::chars_format format) { return std::string(text, std::to_chars(text, text + sizeof text, x, format).ptr); };
    const double magnitude = x < 0 ? -x : x;
    if (magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16)) return print(std::chars_format::scientific);
    const std::string fixed = print(std::chars_format::fixed);
    return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

inline std::string quant_state_text(const bitsandbytes_options& o, std::span<const std::size_t> shape, float offset) {
    const char* dtype = o.dtype == scalar_type::f16 ? "float16" : o.dtype == scalar_type::bf16 ? "bfloat16" : "float32";
    std::string s = std::string("{\"quant_type\": \"") + name_of(o.kind) + "\", \"blocksize\": " + std::to_string(o.blocksize) + ", \"dtype\": \"" +
                    dtype + "\", \"shape\": [" + std::to_string(shape[0]) + ", " + std::to_string(shape[1]) + "]";
    if (o.nested)
        s +=
            ", \"nested_blocksize\": " + std::to_string(nested_block) + ", \"nested_dtype\": \"float32\", \"nested_offset\": " + python_float(offset);
    return s + "}";
}

template <format_type Plain, format_type Nested>
result<std::vector<named_array>> write_blocks(const std::string& name, matrix_view<const float> w, const bitsandbytes_options& o,
                                              executor_ref executor) {
    using code = typename Plain::code;
    const std::size_t shape[] = {w.rows, w.cols};
    std::vector<float> flat;
    if (is_blocksize(o.blocksize) && w.cols % o.blocksize != 0 && w.rows > 1) {  // blocks across rows
        std::size_t elements = 0;
        if (!count_elements(shape, elements)) return error{errc::invalid_argument, "tensor " + in_quotes(name) + ": too many weights"};
        flat.resize(elements);
        load_block(w, 0, w.rows, flat.data());
        w = {flat.data(), 1, elements};
    }
    const format_info& f = o.nested ? info_of<Nested> : info_of<Plain>;
    const packed_shape s{w.rows, w.cols, o.blocksize};
    const auto buffer = quantize_as<code, layout::rows>(w, f, s, {.compat = compatibility::bitsandbytes}, executor);
    if (!buffer) return error{buffer.error().code, "tensor " + in_quotes(name) + (flat.empty() ? ": " : ", flattened: ") + buffer.error().message};

    const rows_layout at(f, s);
    const std::size_t elements = w.rows * w.cols, blocks = at.scale_count(f, s);
    const auto section_of = [&](const section& part, std::size_t bytes) {
        const std::byte* begin = buffer->codes.data() + part.begin;
        return std::vector<std::byte>(begin, begin + bytes);
    };
    std::vector<std::byte> codes = section_of(at.codes, at.codes.bytes);
    for (std::byte& b : codes) b = b >> 4 | b << 4;
    if (elements % 2) codes.back() |= std::byte{zero_code<code>};

    std::vector<named_array> out;
    out.push_back({name, safetensors_dtype::u8, {codes.size(), 1}, std::move(codes)});
    out.push_back({name + ".absmax", o.nested ? safetensors_dtype::u8 : safetensors_dtype::f32, {blocks}, section_of(at.scales, at.scales.bytes)});
    out.push_back({name + ".quant_map", safetensors_dtype::f32, {16}, bytes_of_values<float>(code::values)});
    float offset = 0;
    if (o.nested) {
        const std::size_t outer = ceil_div(blocks, nested_block);
        out.push_back({name + ".nested_absmax", safetensors_dtype::f32, {outer}, section_of(at.outer, outer * sizeof(float))});
        out.push_back({name + ".nested_quant_map", safetensors_dtype::f32, {256}, bytes_of_values<float>(dynamic_u8::values)});
        std::memcpy(&offset, buffer->codes.data() + at.outer.end() - sizeof offset, sizeof offset);
    }
    const std::string state = quant_state_text(o, shape, offset);
    out.push_back({name + ".quant_state.bitsandbytes__" + name_of(o.kind),
                   safetensors_dtype::u8,
                   {state.size()},
                   bytes_of_values<char>(std::span(state.data(), state.size()))});
    return out;
}

// bitsandbytes rounds to f16 first.
inline result<std::vector<named_array>> write_int8(const std::string& name, const matrix_view<const float>& w, executor_ref executor) {
    std::size_t elements = 0;
    const std::size_t shape[] = {w.rows, w.cols};
    if (!count_elements(shape, elements)) return error{errc::invalid_argument, "tensor " + in_quotes(name) + ": too many weights"};
    std::vector<f16> rounded(elements);
    std::vector<float> absmax(w.rows);
    for (std::size_t r = 0; r < w.rows; ++r)
        for (std::size_t c = 0; c < w.cols; ++c) {
            const f16 h(w(r, c));
            rounded[r * w.cols + c] = h;
            if (is_finite(w(r, c)) && !is_finite(float(h)))
                return error{errc::scale_range, "tensor " + in_quotes(name) + ": row " + std::to_string(r) + ", column " + std::to_string(c) + ": " +
                                                    number_text(w(r, c)) + " overflows f16, which bitsandbytes rounds to first"};
            absmax[r] = std::max(absmax[r], magnitude(float(h)));
        }
    const format_info& f = info_of<int8_channel>;
    const packed_shape s{w.rows, w.cols, 0};
    const auto buffer = quantize_as<int8_code, layout::rows>(matrix_view<const f16>{rounded.data(), w.rows, w.cols}, f, s,
                                                             {.compat = compatibility::bitsandbytes}, executor);
    if (!buffer) return error{buffer.error().code, "tensor " + in_quotes(name) + ": " + buffer.error().message};
    const std::string prefix = name.substr(0, name.size() - std::string_view("weight").size());
    std::vector<named_array> out;
    out.push_back({name, safetensors_dtype::i8, {w.rows, w.cols}, {buffer->codes.data(), buffer->codes.data() + elements}});
    out.push_back({prefix + "SCB", safetensors_dtype::f32, {w.rows}, bytes_of_values<float>(absmax)});
    out.push_back({prefix + "weight_format", safetensors_dtype::u8, {}, {std::byte{0}}});
    return out;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// Is the tensor "X.weight" the weights of bitsandbytes? Nothing, if it is not. Errors: not_found, corrupt (a quant_state that is damaged).
inline result<std::optional<bitsandbytes_tensor>> find_bitsandbytes(const safetensors_file& file, std::string_view name) {
    const auto weight = file.find(name);
    if (!weight) return weight.error();
    bitsandbytes_tensor t;
    t.parts = {std::string(name)};
    for (const auto kind : {bitsandbytes_kind::nf4, bitsandbytes_kind::fp4}) {
        const std::string at = std::string(name) + '.', state = at + "quant_state.bitsandbytes__" + name_of(kind);
        const auto text = file.find(state);
        if (!text) continue;
        if ((*text)->dtype != safetensors_dtype::u8)
            return detail::bad_tensor(file, state, "dtype " + in_quotes((*text)->dtype_text) + ", must be U8: a JSON text");
        t.kind = kind;
        t.nested = detail::has_tensor(file, at + "nested_absmax");
        const auto bytes = (*text)->data;
        const auto parsed = detail::parse_quant_state({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, t.nested, t);
        if (!parsed) return detail::bad_tensor(file, state, parsed.error().message);
        t.parts.insert(t.parts.end(), {state, at + "absmax", at + "quant_map"});
        if (t.nested) t.parts.insert(t.parts.end(), {at + "nested_absmax", at + "nested_quant_map"});
        return std::optional(std::move(t));
    }
    const bool is_weight = name == "weight" || name.ends_with(".weight");
    const std::string prefix(name.substr(0, is_weight ? name.size() - 6 : 0));
    if (!is_weight || (*weight)->dtype != safetensors_dtype::i8 || !detail::has_tensor(file, prefix + "SCB"))
        return std::optional<bitsandbytes_tensor>();
    t.kind = bitsandbytes_kind::llm_int8;
    t.shape = (*weight)->shape;
    t.dtype = "float16";
    t.parts.push_back(prefix + "SCB");
    if (detail::has_tensor(file, prefix + "weight_format")) t.parts.push_back(prefix + "weight_format");
    return std::optional(std::move(t));
}

// The same codes and scales in panels, [out, in]. Errors: not_found, corrupt, not_finite, out_of_memory, unsupported: no matrix of
// bitsandbytes, or one that none of our formats holds (the message says why; read_bitsandbytes_f32 decodes it).
inline result<any_matrix> read_bitsandbytes(const safetensors_file& file, std::string_view name, executor_ref executor = {}) {
    const std::string weight(name);
    const auto t = detail::expect_bitsandbytes(file, weight);
    if (!t) return t.error();
    return t->kind == bitsandbytes_kind::llm_int8 ? detail::pack_int8(file, weight, *t, executor) : detail::pack_blocks(file, weight, *t, executor);
}

// All weights as f32, row-major: the bits that bitsandbytes dequantizes to in float32, but for the sign of a zero (fp4's 0x8). Errors: those
// of read_bitsandbytes, but any shape, block and table is decoded.
inline result<std::vector<float>> read_bitsandbytes_f32(const safetensors_file& file, std::string_view name, executor_ref executor = {}) {
    const std::string weight(name);
    const auto t = detail::expect_bitsandbytes(file, weight);
    if (!t) return t.error();
    std::vector<float> out;
    const auto for_ranges = [&](std::size_t n, std::size_t grain, const auto& work) {
        executor.parallel_for(n, grain, [&](std::size_t begin, std::size_t end) {
            const fp_env env;
            work(begin, end);
        });
    };
    if (t->kind == bitsandbytes_kind::llm_int8) {
        const auto w = detail::read_int8(file, weight, *t);
        if (!w) return w.error();
        out.resize(w->rows * w->cols);
        for_ranges(w->rows, 16, [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin * w->cols; i < end * w->cols; ++i)
                out[i] = mul(mul(float(w->codes[i]), w->absmax[i / w->cols]), 7.874015718698502e-3f);
        });
        return out;
    }
    const auto b = detail::read_blocks(file, weight, *t);
    if (!b) return b.error();
    out.resize(b->elements);
    for_ranges(b->absmax.size(), 64, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin * t->blocksize; i < std::min(end * t->blocksize, b->elements); ++i)
            out[i] = mul(b->table[b->code(i)], b->absmax[i / t->blocksize]);
    });
    return out;
}

// The tensors that bitsandbytes would save, byte for byte what its CPU quantizer makes of f32 weights (int8: of weights rounded to f16, as
// Int8Params does). One exception: the nested offset is our mean of the absmax, summed in f64, torch's may differ in the last bits.
// `name` ends in "weight". Errors: invalid_argument, not_finite, scale_range, out_of_memory.
inline result<std::vector<named_array>> write_bitsandbytes(std::string_view name, const matrix_view<const float>& w,
                                                           const bitsandbytes_options& options = {}, executor_ref executor = {}) {
    const std::string weight(name);
    const auto fail = [&](const std::string& what) { return error{errc::invalid_argument, "tensor " + in_quotes(name) + ": " + what}; };
    if (name != "weight" && !name.ends_with(".weight")) return fail("the name of bitsandbytes' weights ends in \".weight\"");
    if (options.kind == bitsandbytes_kind::llm_int8) return detail::write_int8(weight, w, executor);
    if (!detail::is_blocksize(options.blocksize))
        return fail("blocksize " + std::to_string(options.blocksize) + ", must be a power of two from 32 to 4096");
    if (options.kind == bitsandbytes_kind::nf4) return detail::write_blocks<nf4<dynamic_group>, nf4_dq<dynamic_group>>(weight, w, options, executor);
    return detail::write_blocks<fp4_bnb<dynamic_group>, fp4_bnb<dynamic_group, nested<dynamic_u8, nested_block>>>(weight, w, options, executor);
}

}  // namespace QNT_BASELINE

namespace detail {
inline namespace QNT_BASELINE {
inline result<bitsandbytes_tensor> expect_bitsandbytes(const safetensors_file& file, const std::string& name) {
    auto t = find_bitsandbytes(file, name);
    if (!t) return t.error();
    if (!*t)
        return bad_tensor(file, name,
                          "is not quantized by bitsandbytes: there is no \"quant_state.bitsandbytes__nf4\" or \"..fp4\" beside it, and no \"SCB\"",
                          errc::unsupported);
    return std::move(**t);
}
}  // namespace QNT_BASELINE
}  // namespace detail
}  // namespace qnt
