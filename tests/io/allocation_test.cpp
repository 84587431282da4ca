// Every reader and writer, with every single allocation refused in turn: each answers with std::bad_alloc or an error that says so, gives
// back what it had taken, and leaves no file. A new one is a line in operations().
#include <qnt/io/archive.hpp>
#include <qnt/io/awq.hpp>
#include <qnt/io/bitsandbytes.hpp>
#include <qnt/io/gguf.hpp>
#include <qnt/io/gptq.hpp>
#include <qnt/io/npy.hpp>
#include <qnt/io/safetensors_shards.hpp>
#include <qnt/io/safetensors_writer.hpp>

#include "../failing_allocations.hpp"
#include "temp_folder.hpp"

namespace {

using namespace qnt;
using test::operation;

const std::vector<float> values = {1, 2, 3, 4, 5, 6};
const std::string json = R"({"a key that is longer than any small string": [1, true, null, {"b": "\u00e9 and enough more for an allocation"}]})";

// In `in` lies one file of each kind, `out` is empty.
std::vector<operation> operations(const temp_folder& in, const temp_folder& out) {
    const auto read_tensors = [](const auto& file) -> result<void> {
        if (!file) return file.error();
        for (const auto& t : file->tensors()) QNT_TRY(file->read_f32(t.name));
        return {};
    };
    const auto read_array = [](const auto& file) -> result<void> {
        if (!file) return file.error();
        const auto v = file->read_f32();
        return v ? result<void>() : v.error();
    };
    const auto read_archive = [](const auto& file) -> result<void> {
        if (!file) return file.error();
        QNT_TRY(file->verify());
        QNT_TRY(file->get_any("a matrix with a long name"));
        QNT_TRY(file->read_f32("an array with a long name"));
        return {};
    };
    const auto drop = [](const auto& r) -> result<void> { return r ? result<void>() : r.error(); };
    const auto read_gguf = [=](const auto& file) -> result<void> {
        if (!file) return file.error();
        for (const auto& t : file->tensors()) {
            QNT_TRY(file->read_f32(t.name));
            QNT_TRY(file->read_packed(t.name));
        }
        QNT_TRY(file->find_value("a key that is long enough")->strings());
        return {};
    };
    const auto in_checkpoint = [](const std::string& path, const auto& read) -> result<void> {
        const auto file = safetensors_file::open(path);
        if (!file) return file.error();
        return read(*file);
    };
    const std::string model = in / "model.safetensors", index = in / "index.json", folder = in / "folder", archive_path = in / "model.qnt",
                      gguf = in / "model.gguf", bitsandbytes = in / "bitsandbytes.safetensors", gptq = in / "gptq.safetensors",
                      awq = in / "awq.safetensors", npy = in / "x.npy", fortran = in / "fortran.npy", half = in / "half.npy",
                      target = out / "written";
    return {
        {"parse_json",
         [] {
             const auto v = parse_json(json);
             return v ? result<void>() : v.error();
         }},
        {"safetensors_file::open", [=] { return read_tensors(safetensors_file::open(model)); }},
        {"safetensors_file::load", [=] { return read_tensors(safetensors_file::load(model)); }},
        {"safetensors_shards::open, an index", [=] { return read_tensors(safetensors_shards::open(index)); }},
        {"safetensors_shards::load, an index", [=] { return read_tensors(safetensors_shards::load(index)); }},
        {"safetensors_shards::open, a folder", [=] { return read_tensors(safetensors_shards::open(folder)); }},
        {"npy_file::open", [=] { return read_array(npy_file::open(npy)); }},
        {"npy_file::load", [=] { return read_array(npy_file::load(fortran)); }},
        {"npy_file::open, f2", [=] { return read_array(npy_file::open(half)); }},
        {"archive::map", [=] { return read_archive(archive::map(archive_path)); }},
        {"archive::load", [=] { return read_archive(archive::load(archive_path)); }},
        {"gguf_file::open", [=] { return read_gguf(gguf_file::open(gguf)); }},
        {"gguf_file::load", [=] { return read_gguf(gguf_file::load(gguf)); }},
        {"read_bitsandbytes",
         [=] {
             return in_checkpoint(bitsandbytes, [&](const safetensors_file& f) -> result<void> {
                 QNT_TRY(read_bitsandbytes(f, "a layer with a long name.weight"));
                 return drop(read_bitsandbytes_f32(f, "a layer with a long name.weight"));
             });
         }},
        {"read_gptq",
         [=] {
             return in_checkpoint(gptq, [&](const safetensors_file& f) -> result<void> {
                 QNT_TRY(read_gptq(f, "a layer with a long name", {.convention = gptq_convention::v2}));
                 return drop(read_gptq_f32(f, "a layer with a long name", {.convention = gptq_convention::v2}));
             });
         }},
        {"read_awq",
         [=] {
             return in_checkpoint(awq, [&](const safetensors_file& f) -> result<void> {
                 QNT_TRY(read_awq(f, "a layer with a long name"));
                 return drop(read_awq_f32(f, "a layer with a long name"));
             });
         }},
        {"parse_gptq_config",
         [=] {
             return drop(
                 parse_gptq_config(R"({"quantization_config": {"quant_method": "gptq", "bits": 4, "a key that is long enough": ["\u00e9"]}})"));
         }},
        {"write_npy",
         [=] {
             return write_npy(target, values, {2, 3});
         }},
        {"safetensors_writer",
         [=]() -> result<void> {
             safetensors_writer w;
             QNT_TRY(w.declare("a tensor with a long name", safetensors_dtype::f32, {2, 3}));
             QNT_TRY(w.set_metadata("a key with a long name", "and a value that is long enough"));
             QNT_TRY(w.begin(target));
             QNT_TRY(w.write("a tensor with a long name", values));
             return w.finish();
         }},
        {"gguf_writer",
         [=]() -> result<void> {
             gguf_writer w;
             QNT_TRY(w.set("a key that is long enough", std::vector<std::string>{"and a value that is long enough"}));
             QNT_TRY(w.declare("a tensor with a long name", gguf_type::f32, {2, 3}));
             QNT_TRY(w.begin(target));
             QNT_TRY(w.write("a tensor with a long name", std::as_bytes(std::span(values))));
             return w.finish();
         }},
        {"write_bitsandbytes",
         [=] {
             return drop(write_bitsandbytes("a layer with a long name.weight", {values.data(), 2, 3}, {.nested = true}));
         }},
        {"archive_writer",
         [=]() -> result<void> {
             const std::vector<std::uint32_t> outliers{1};
             auto packed = quantize(matrix_view<const float>{values.data(), 2, 3}, format_of<nf4<64>>(), {.outliers = outliers});
             if (!packed) return packed.error();
             archive_writer w;
             QNT_TRY(w.add("a matrix with a long name", std::move(*packed)));
             QNT_TRY(w.add("an array with a long name", values, {3, 2}));
             QNT_TRY(w.set_metadata("a key with a long name", "and a value that is long enough"));
             return w.finish(target);
         }},
    };
}

void write_arrays(const std::string& path, const std::vector<named_array>& arrays) {
    safetensors_writer w;
    for (const auto& a : arrays) w.declare(a.name, a.dtype, a.shape).value();
    w.begin(path).value();
    for (const auto& t : w.order())
        w.write(t.name, std::find_if(arrays.begin(), arrays.end(), [&](const auto& a) { return a.name == t.name; })->bytes).value();
    w.finish().value();
}

// One matrix each of other systems: 32 columns, 8 rows, 2 groups.
void write_checkpoints(const temp_folder& in) {
    const std::string name = "a layer with a long name";
    const std::vector<float> blocks(128, 0.5f);
    write_arrays(in / "bitsandbytes.safetensors", write_bitsandbytes(name + ".weight", {blocks.data(), 2, 64}, {.nested = true}).value());
    const auto zeros = [&](const char* part, safetensors_dtype dtype, std::vector<std::size_t> shape) {
        std::size_t bytes = safetensors_dtypes[std::size_t(dtype)].bits / 8;
        for (const std::size_t n : shape) bytes *= n;
        return named_array{name + part, dtype, std::move(shape), std::vector<std::byte>(bytes)};
    };
    using dtype = safetensors_dtype;
    auto group_of = zeros(".g_idx", dtype::i32, {32});
    for (std::size_t i = 0; i < 32; ++i) group_of.bytes[4 * i] = std::byte(i % 2);
    const auto zero = zeros(".qzeros", dtype::i32, {2, 1}), scales = zeros(".scales", dtype::f16, {2, 8}), bias = zeros(".bias", dtype::f32, {8});
    write_arrays(in / "gptq.safetensors", {zeros(".qweight", dtype::i32, {4, 8}), zero, scales, group_of, bias});
    write_arrays(in / "awq.safetensors", {zeros(".qweight", dtype::i32, {32, 1}), zero, scales, bias});
    gguf_writer w;
    w.set("a key that is long enough", std::vector<std::string>{"and a value that is long enough"}).value();
    w.declare("a tensor with a long name", gguf_type::q8_0, {1, 32}).value();
    w.declare("another tensor with a long name", gguf_type::f16, {2, 16}).value();
    w.begin(in / "model.gguf").value();
    w.write("a tensor with a long name", std::vector<std::byte>(34)).value();
    w.write("another tensor with a long name", std::vector<std::byte>(64)).value();
    w.finish().value();
}

void write_inputs(const temp_folder& in) {
    const auto write_model = [&](const std::string& path, const char* name) {
        safetensors_writer w;
        w.declare(name, safetensors_dtype::f32, {2, 3}).value();
        w.set_metadata("a key with a long name", "and a value that is long enough").value();
        w.begin(path).value();
        w.write(name, values).value();
        w.finish().value();
    };
    write_model(in / "model.safetensors", "a tensor with a long name");
    write_model(in / "second.safetensors", "another tensor with a long name");
    std::filesystem::create_directory(in / "folder");
    write_model(in / "folder/the only one.safetensors", "a tensor with a long name");
    write_text(in / "index.json",
               R"({"weight_map": {"a tensor with a long name": "model.safetensors", "another tensor with a long name": "second.safetensors"}})");
    write_npy(in / "x.npy", values, {2, 3}).value();
    std::string fortran = text_of(in / "x.npy");
    fortran.replace(fortran.find("False, "), 7, "True,  ");
    write_text(in / "fortran.npy", fortran);
    write_npy(in / "half.npy", std::vector<f16>(6)).value();
    write_checkpoints(in);
    archive_writer w;
    const std::vector<std::uint32_t> outliers{0, 2};
    const matrix_view<const float> matrix{values.data(), 2, 3};
    w.add("a matrix with a long name", quantize(matrix, format_of<nf4<64>>(), {.outliers = outliers}).value()).value();
    w.add("an array with a long name", values).value();
    w.set_metadata("a key with a long name", "and a value that is long enough").value();
    w.finish(in / "model.qnt").value();
}

}  // namespace

TEST_CASE("every allocation that fails is survived: readers and writers say so, give back all memory and leave no file") {
    const temp_folder in, out;
    write_inputs(in);
    for (const operation& op : operations(in, out))
        test::refuse_every_allocation(
            op, [&] { return out.files() == 0; }, [&] { std::filesystem::remove(out / "written"); });
}
