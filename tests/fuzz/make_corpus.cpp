// make_corpus FOLDER: valid files of every kind that the fuzz targets read, small ones, in FOLDER/TARGET.
#include <gpt2/gguf.hpp>
#include <qnt/io/archive.hpp>
#include <qnt/io/bitsandbytes.hpp>
#include <qnt/io/npy.hpp>
#include <qnt/io/safetensors_writer.hpp>

#include <filesystem>
#include <fstream>
#include <random>

#include "checkpoint_input.hpp"

namespace {

using namespace qnt;
std::mt19937 numbers(1);

std::vector<float> floats(std::size_t n) {
    std::vector<float> v(n);
    for (float& x : v) x = float(int(numbers() % 2001) - 1000) * 0x1p-10f;
    return v;
}
template <class T> named_array array_of(std::string name, safetensors_dtype dtype, std::vector<std::size_t> shape, const std::vector<T>& v) {
    const auto bytes = std::as_bytes(std::span(v));
    return {std::move(name), dtype, std::move(shape), {bytes.begin(), bytes.end()}};
}
std::vector<std::int32_t> words(std::size_t n) {
    std::vector<std::int32_t> v(n);
    for (auto& w : v) w = std::int32_t(numbers());
    return v;
}

class corpus {
public:
    explicit corpus(std::filesystem::path root) : root_(std::move(root)) {}

    std::string next(const std::string& target) {
        std::filesystem::create_directories(root_ / target);
        return (root_ / target / ("seed-" + std::to_string(number_++))).string();
    }
    void text(const std::string& target, std::string_view s) {
        std::ofstream(next(target), std::ios::binary).write(s.data(), std::streamsize(s.size()));
    }

private:
    std::filesystem::path root_;
    int number_ = 0;
};

void write_json(corpus& out) {
    for (const char* s :
         {R"({"a": [1, -2.5e-3, 0, "\u00e9\ud83d\ude00\n", true, false, null, {}], "b": {"c": []}})", "18446744073709551615", "[[[[1]]]]", "\"\""})
        out.text("json", s);
    for (const char* s : {R"([["wte", "int8_channel"], ["*.ln_?", "f32"], ["h.*.mlp.*", "nf4:64"], ["*", "int4:32:f32"]])",
                          R"([["wte", "llmint8:4.5"], ["*", "uint4:64+outliers:6"]])", "nf4_dq:64", "uint4:128:bf16"})
        out.text("policy", s);
    gpt2::config c{.n_layer = 2, .n_embd = 16, .n_head = 2, .n_ctx = 8, .vocab_size = 257, .n_inner = 64, .bos_token_id = 256, .eos_token_id = 256};
    out.text("config", gpt2::to_json(c));
    out.text(
        "config",
        R"({"model_type": "gpt2", "n_layer": 1, "n_embd": 4, "n_head": 1, "n_ctx": 8, "vocab_size": 9, "n_inner": null, "layer_norm_epsilon": 1e-05, "scale_attn_weights": true})");
    for (const char* s : {R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "checkpoint_format": "gptq_v2", "desc_act": false})",
                          R"({"quantization_config": {"quant_method": "awq", "version": "GEMM", "bits": 4, "group_size": 128}, "n": 1})"})
        out.text("checkpoint", s);
    out.text("safetensors", R"({"metadata": {"total_size": 24}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})");
}

void write_safetensors(corpus& out) {
    safetensors_writer w;
    w.set_metadata("format", "pt").value();
    w.declare("h.0.weight", safetensors_dtype::f32, {2, 3}).value();
    w.declare("bias", safetensors_dtype::f16, {3}).value();
    w.declare("scalar", safetensors_dtype::bf16, {}).value();
    w.declare("empty", safetensors_dtype::i64, {0, 4}).value();
    w.declare("fp4", safetensors_dtype::f4, {2, 2}).value();
    w.begin(out.next("safetensors")).value();
    for (const auto& t : w.order()) w.write(t.name, std::vector<std::byte>(t.elements * safetensors_dtypes[std::size_t(t.dtype)].bits / 8)).value();
    w.finish().value();
    out.text("safetensors", std::string("\2\0\0\0\0\0\0\0{}", 10));
}

void write_npy_files(corpus& out) {
    write_npy(out.next("npy"), floats(6), {2, 3}).value();
    write_npy(out.next("npy"), std::vector<double>{1, 2, 3, 4}, {2, 1, 2}).value();
    write_npy(out.next("npy"), std::vector<std::int16_t>{1, -2}).value();
    write_npy(out.next("npy"), npy_dtype::boolean, std::vector<std::byte>(1), {}).value();
    const std::string path = out.next("npy");
    write_npy(path, std::vector<f16>(6), {3, 2}).value();
    std::ifstream in(path, std::ios::binary);
    std::string fortran(std::istreambuf_iterator<char>(in), {});
    fortran.replace(fortran.find("False, "), 7, "True,  ");
    out.text("npy", fortran);
}

void write_archives(corpus& out) {
    for (const char* format : {"f32", "bf16", "int8", "int8_channel", "int8:32", "nf4:64", "nf4_dq:64", "fp4_bnb:32", "int4:32", "uint4:16:f32"}) {
        archive_writer w;
        const auto values = floats(3 * 80);
        w.add("matrix", quantize(matrix_view<const float>{values.data(), 3, 80}, any_format::parse(format).value()).value()).value();
        w.add("array", values, {3, 1, 80}).value();
        w.set_metadata("source", format).value();
        w.finish(out.next("archive")).value();
    }
    std::vector<std::uint32_t> columns;
    for (std::uint32_t i = 0; i < 32; ++i) columns.push_back(31 - i);
    const auto fill = [](std::size_t, const unpacked_row& r) -> result<void> {
        std::fill_n(r.codes, 32, std::uint8_t(3));
        std::fill_n(r.scales, 2, 0.5f);
        std::fill_n(r.zeros, 2, std::uint8_t(8));
        return {};
    };
    archive_writer w;
    w.add("permuted", pack_matrix(any_format::parse("uint4:16").value(), 2, 32, fill, {}, columns).value()).value();
    w.add("halves", std::vector<f16>(5)).value();
    const std::vector<std::uint32_t> outliers{1, 2, 30};
    const auto values = floats(17 * 32);
    for (const char* format : {"int8_channel", "uint4:16"})
        w.add(std::string("with outliers, ") + format,
              quantize(matrix_view<const float>{values.data(), 17, 32}, any_format::parse(format).value(), {.outliers = outliers}).value())
            .value();
    w.finish(out.next("archive")).value();
    archive_writer().finish(out.next("archive")).value();
}

void write_ggufs(corpus& out) {
    const gguf_type types[] = {gguf_type::f32,  gguf_type::f16,    gguf_type::bf16,   gguf_type::q4_0,  gguf_type::q4_1,  gguf_type::q5_0,
                               gguf_type::q5_1, gguf_type::q8_0,   gguf_type::q2_k,   gguf_type::q3_k,  gguf_type::q4_k,  gguf_type::q5_k,
                               gguf_type::q6_k, gguf_type::iq4_nl, gguf_type::iq4_xs, gguf_type::mxfp4, gguf_type::nvfp4, gguf_type::i32};
    for (const gguf_type type : types) {
        gguf_writer w;
        w.set("general.architecture", "test").value();
        const auto& info = *find_gguf_type(std::uint32_t(type));
        w.declare("m", type, {2, info.block}).value();
        w.begin(out.next("gguf")).value();
        std::vector<std::byte> blocks(2 * info.bytes);
        for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = std::byte(i % 48);
        w.write("m", blocks).value();
        w.finish().value();
    }
    gguf_writer w;
    w.set("u8", std::uint8_t{1}).value();
    w.set("i64", std::int64_t{-1}).value();
    w.set("f32", 1.5f).value();
    w.set("bool", true).value();
    w.set("text", "text").value();
    w.set("texts", std::vector<std::string>{"a", "bc"}).value();
    w.set("numbers", std::vector<std::int32_t>{1, 2, 3}).value();
    w.set("general.alignment", std::uint32_t{64}).value();
    w.declare("a", gguf_type::f32, {3}).value();
    w.declare("b", gguf_type::q8_0, {1, 2, 1, 32}).value();
    w.begin(out.next("gguf")).value();
    w.write("a", std::vector<std::byte>(12)).value();
    w.write("b", std::vector<std::byte>(68)).value();
    w.finish().value();
}

void write_checkpoints(corpus& out) {
    const auto write = [&](unsigned options, std::vector<named_array> tensors) {
        out.text("checkpoint", fuzz::encode_checkpoint({options, std::move(tensors)}));
    };
    const auto values = floats(4 * 64);
    for (const auto kind : {bitsandbytes_kind::nf4, bitsandbytes_kind::fp4, bitsandbytes_kind::llm_int8})
        for (const bool nested : {false, true})
            if (!nested || kind != bitsandbytes_kind::llm_int8)
                write(0, write_bitsandbytes("fc.weight", {values.data(), 4, 64}, {.kind = kind, .nested = nested}).value());

    using dtype = safetensors_dtype;
    const std::size_t rows = 16, cols = 64, groups = 2;
    const std::vector<f16> scales(groups * rows, f16(0.25f));
    std::vector<std::int32_t> group_of;
    for (std::size_t i = 0; i < cols; ++i) group_of.push_back(std::int32_t(i % groups));
    for (const std::size_t bits : {2, 3, 4, 8}) {
        const std::size_t lines = cols * bits / 32, zeros = (rows * bits + 31) / 32;
        write(bits == 4 ? 3 : 1, {array_of("fc.qweight", dtype::i32, {lines, rows}, words(lines * rows)),
                                  array_of("fc.qzeros", dtype::i32, {groups, zeros}, std::vector<std::int32_t>(groups * zeros, 0x77777777)),
                                  array_of("fc.scales", dtype::f16, {groups, rows}, scales), array_of("fc.g_idx", dtype::i32, {cols}, group_of),
                                  array_of("fc.bias", dtype::f32, {rows}, floats(rows))});
    }
    write(0, {array_of("fc.qweight", dtype::i32, {cols, rows / 8}, words(cols * rows / 8)),
              array_of("fc.qzeros", dtype::i32, {groups, rows / 8}, words(groups * rows / 8)),
              array_of("fc.scales", dtype::f16, {groups, rows}, scales)});
}

void write_tokenizers(corpus& out) {
    gpt2::tokenizer_data d;
    for (const std::string& c : gpt2::byte_characters()) d.tokens.push_back(c);
    d.tokens.insert(d.tokens.end(), {"he", "ll", "hell", "<|endoftext|>"});
    d.specials = {259};
    d.merges = {{"h", "e", 1}, {"l", "l", 2}, {"he", "ll", 3}};
    const auto texts = gpt2::tokenizer_texts(d);
    out.text("tokenizer", texts[0].second + '\0' + texts[1].second + '\0' + R"({"extra": 260})");
    out.text(
        "tokenizer",
        R"({"model": {"type": "BPE", "vocab": )" + texts[0].second +
            R"(, "merges": ["h e", ["l", "l"]]}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}, "added_tokens": [{"id": 259, "content": "<|endoftext|>"}]})");
    out.text("tokenizer", std::string_view("+he\nll\nhell\n<|a|>\0h e\nl l\nhe ll\n\0<|a|>\n<b>", 45));
    for (const char* s :
         {"Hello, world's 123   \n\n\t caf\xC3\xA9 \xF0\x9F\x98\x80<|endoftext|>", "\xFF\xC3 \xE2\x82", "aaaaaaaaaaaaaaaaaaaaaaaaaa  '''sll"})
        out.text("tokenizer", s);
    for (const char* target : {"tokenizer", "config"}) {
        gguf_writer w;
        gpt2::set_gguf_metadata(w, {.n_layer = 2, .n_embd = 16, .n_head = 2, .n_ctx = 8, .vocab_size = 260, .n_inner = 64, .eos_token_id = 259}, d);
        w.declare("token_embd.weight", gguf_type::f16, {260, 1}).value();
        w.begin(out.next(target)).value();
        w.write("token_embd.weight", std::vector<std::byte>(520)).value();
        w.finish().value();
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return std::fputs("usage: make_corpus FOLDER\n", stderr), 2;
    corpus out(argv[1]);
    write_json(out);
    write_safetensors(out);
    write_npy_files(out);
    write_archives(out);
    write_ggufs(out);
    write_checkpoints(out);
    write_tokenizers(out);
}
