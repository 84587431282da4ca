// qnt-inspect: what is inside of a file of weights.
//
//   qnt-inspect model.safetensors                    # header and a table of tensors
//   qnt-inspect --verify --json gpt2.qnt             # reads all data; the JSON is described in contents.hpp
//
// Exit 0: sound. 1: not, one line on stderr says what and where. 2: wrong usage.
#include <map>

#include <gpt2/tokenizer.hpp>

#include "finite.hpp"
#include "source.hpp"

namespace {

using tools::contents;
using tools::tensor_entry;
using tools::text_pairs;

struct settings {
    std::string file;
    bool json = false, verify = false;
};

enum class kind { safetensors, gguf, archive, npy, folder, config, tokenizer };

// By its name; a name that says nothing by how it begins. Throws when nothing is known.
kind kind_of(const std::string& path) {
    const std::string name = tools::name_of_file(path);
    if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) return kind::folder;
    if (name == "config.json") return kind::config;
    if (name == "vocab.json" || name == "merges.txt") return kind::tokenizer;
    if (name.ends_with(".safetensors") || name.ends_with(".index.json")) return kind::safetensors;
    if (name.ends_with(".gguf")) return kind::gguf;
    if (name.ends_with(".npy")) return kind::npy;
    if (name.ends_with(".qnt")) return kind::archive;
    const auto file = qnt::mapped_file::open(path).value();
    const auto begins = [&](std::string_view magic) {
        return file.bytes().size() >= magic.size() && std::memcmp(file.bytes().data(), magic.data(), magic.size()) == 0;
    };
    if (begins("\x89QNT")) return kind::archive;
    if (begins("GGUF")) return kind::gguf;
    if (begins("\x93NUMPY")) return kind::npy;
    const std::string what = qnt::detail::describe_file(file.bytes());
    if (file.bytes().size() > 8 && file.bytes()[8] == std::byte{'{'}) return kind::safetensors;
    throw std::runtime_error(path + ": neither its name nor its first bytes are those of a known format" + what +
                             "; known are safetensors, GGUF, .qnt, .npy and the files of a GPT-2 model");
}

void check_numbers(const std::string& file, const qnt::safetensors_tensor& t) {
    const auto fail = [&](const std::string& what) { throw std::runtime_error(file + ": tensor " + qnt::in_quotes(t.name) + ": " + what); };
    if (t.dtype == qnt::safetensors_dtype::unknown)
        fail("dtype " + qnt::in_quotes(t.dtype_text) + " is unknown: nothing says what its bytes should be");
    const std::size_t bad = tools::first_not_finite(t.data, t.dtype_text);
    if (bad < t.elements) fail("element " + std::to_string(bad) + " is not a finite number");
}

// Matrices of bitsandbytes, GPTQ and AWQ, each in place of the tensors that it is stored as.
void compose(const settings& s, contents& c, qnt::executor_ref executor) {
    const auto file = qnt::checkpoint_file::open(s.file, executor);
    if (!file && file.error().code == qnt::errc::unsupported) {  // sound, but nothing that we can read
        c.facts.emplace_back("shown as stored", file.error().message);
        return;
    }
    std::map<std::string, tensor_entry> stored;
    for (tensor_entry& e : c.tensors) stored[e.name] = std::move(e);
    c.tensors.clear();
    for (const qnt::checkpoint_tensor& t : file.value().tensors()) {
        if (t.parts.empty()) {
            c.tensors.push_back(std::move(stored.at(t.name)));
            continue;
        }
        tensor_entry e{t.name, t.shape, t.stored_as, tools::source::elements_of(t), 0};
        for (const std::string& part : t.parts) e.bytes += stored.at(part).bytes;
        c.tensors.push_back(std::move(e));
        const auto readable = s.verify ? t.read() : std::vector<float>();
        if (!readable) throw qnt::exception(readable.error());
    }
}

// One file, or several with their index.
contents of_safetensors(const settings& s, qnt::executor_ref executor) {
    const auto model = qnt::safetensors_shards::open(s.file).value();
    contents c{s.file, "safetensors", "", 0, {}, {}, {}, s.verify};
    for (const qnt::safetensors_file& file : model.files()) {
        c.bytes += std::filesystem::file_size(file.path());
        if (model.files().size() > 1) c.facts.emplace_back("file", tools::name_of_file(file.path()));
        else c.metadata.assign(file.metadata().begin(), file.metadata().end());
        for (const qnt::safetensors_tensor& t : file.tensors()) {
            c.tensors.push_back({t.name, t.shape, t.dtype_text, t.elements, t.data.size()});
            if (s.verify) check_numbers(file.path(), t);
        }
    }
    compose(s, c, executor);
    return c;
}

// A value of GGUF for people: a long array as its length.
std::string text_of(const qnt::gguf_value& v) {
    using type = qnt::gguf_value_type;
    switch (v.type()) {
    case type::string: return std::string(v.as_string().value());
    case type::boolean: return v.as_bool().value() ? "true" : "false";
    case type::f32: return tools::shortest(v.as_f32().value());
    case type::f64: return tools::shortest(v.as_f64().value());
    case type::u64: return std::to_string(v.as_uint64().value());
    case type::array: return "[" + std::to_string(v.size()) + " x " + qnt::detail::info_of_value(v.element_type()).name + "]";
    default: return std::to_string(v.as_int64().value());
    }
}

// Decodes every block.
void check_blocks(const std::string& file, const qnt::gguf_tensor& t, qnt::executor_ref executor) {
    const auto fail = [&](const std::string& what) { throw std::runtime_error(file + ": tensor " + qnt::in_quotes(t.name) + ": " + what); };
    const qnt::gguf_type_info& type = *qnt::find_gguf_type(t.type);
    if (std::string_view(type.name).starts_with("I") && type.block == 1) return;  // integers: any bits are sound
    if (!type.decodes) fail(std::string("type ") + type.name + " cannot be decoded, so that its blocks are not verified");
    const std::size_t most = (std::size_t{1} << 20) / type.block, blocks = t.elements / type.block;
    std::vector<float> values;
    for (std::size_t first = 0; first < blocks; first += most) {
        const std::size_t n = std::min(most, blocks - first);
        values.resize(n * type.block);
        qnt::gguf_decode(t.type, t.data.subspan(first * type.bytes, n * type.bytes), values, executor).value();
        const std::size_t bad = tools::first_not_finite(std::as_bytes(std::span(values)), "F32");
        if (bad < values.size())
            fail("block " + std::to_string(first + bad / type.block) + ": element " + std::to_string(first * type.block + bad) +
                 " is not a finite number");
    }
}

contents of_gguf(const settings& s, qnt::executor_ref executor) {
    const auto file = qnt::gguf_file::open(s.file).value();
    contents c{s.file, "gguf", "3", std::filesystem::file_size(s.file), {}, {}, {}, s.verify};
    for (const auto& [key, value] : file.metadata()) c.metadata.emplace_back(key, text_of(value));
    for (const qnt::gguf_tensor& t : file.tensors()) {
        c.tensors.push_back({t.name, t.shape, qnt::find_gguf_type(t.type)->name, t.elements, t.data.size()});
        if (s.verify) check_blocks(s.file, t, executor);
    }
    return c;
}

contents of_archive(const settings& s, qnt::executor_ref executor) {
    const auto file = qnt::archive::map(s.file).value();
    if (s.verify) file.verify(executor).value();
    contents c{s.file, "qnt", "1", file.bytes(), {}, file.metadata(), {}, s.verify};
    double information = 0, elements = 0;
    std::size_t outliers = 0;
    for (const qnt::archive_tensor& t : file.tensors()) {
        tensor_entry e{t.name, t.shape, t.format.name(), 1, t.data.size()};
        for (const std::size_t n : t.shape) e.elements *= n;  // the reader has checked it
        const bool is_matrix = t.layout == qnt::archive_layout::panels;
        information += double(is_matrix ? qnt::stored_bytes(t.format.info, t.format.shape(t.shape[0], t.shape[1]), t.outliers) : t.data.size());
        outliers += t.outliers;
        elements += double(e.elements);
        c.tensors.push_back(std::move(e));
    }
    if (outliers > 0) c.facts.emplace_back("outlier columns", std::to_string(outliers));
    c.facts.emplace_back("effective bits", tools::decimal(elements > 0 ? 8 * information / elements : 0, 4) + " of information, without padding");
    return c;
}

contents of_npy(const settings& s) {
    const auto file = qnt::npy_file::open(s.file).value();
    const qnt::npy_dtype_info& type = qnt::npy_dtypes[std::size_t(file.dtype())];
    contents c{s.file, "npy", "", std::filesystem::file_size(s.file), {}, {}, {}, s.verify};
    c.facts.emplace_back("order", file.is_fortran() ? "Fortran" : "C");
    c.tensors.push_back({"", file.shape(), type.descr, file.elements(), file.data().size()});
    const bool is_float = type.descr[1] == 'f';
    const std::size_t bad = s.verify && is_float ? tools::first_not_finite(file.data(), "F" + std::to_string(8 * type.bytes)) : file.elements();
    if (bad < file.elements()) throw std::runtime_error(s.file + ": element " + std::to_string(bad) + " is not a finite number");
    return c;
}

text_pairs facts_of(const gpt2::config& g) {
    text_pairs facts{{"model_type", "gpt2"}};
    for (const gpt2::size_bound& b : gpt2::size_bounds) facts.emplace_back(b.name, std::to_string(g.*b.size));
    facts.emplace_back("layer_norm_epsilon", tools::shortest(g.layer_norm_epsilon));
    return facts;
}

contents of_config(const settings& s) {
    return {s.file, "gpt2", "", std::filesystem::file_size(s.file), facts_of(gpt2::read_config(s.file)), {}, {}, s.verify};
}

// vocab.json and merges.txt say something only together.
contents of_tokenizer(const settings& s) {
    const std::filesystem::path folder = std::filesystem::path(s.file).parent_path();
    const gpt2::tokenizer tokenizer(folder.empty() ? "." : folder);
    return {s.file, "gpt2", "", std::filesystem::file_size(s.file), {{"tokens", std::to_string(tokenizer.vocab_size())}}, {}, {}, s.verify};
}

// A model in Hugging Face's layout: its weights, and of a GPT-2 all that a program needs to run it.
contents of_folder(const settings& s, qnt::executor_ref executor) {
    const std::string folder = s.file.ends_with('/') ? s.file : s.file + '/', config = folder + "config.json";
    if (std::error_code ignored; !std::filesystem::exists(config, ignored))
        throw std::runtime_error(s.file + ": there is no config.json in this folder: it is no model; name a file in it");
    if (!s.verify && !tools::is_gpt2(gpt2::read_text(config))) return of_safetensors(s, executor);  // there is no more to verify than its files
    const gpt2::config g = gpt2::read_config(config);
    contents c = of_safetensors(s, executor);
    const auto file = qnt::checkpoint_file::open(s.file).value();
    for (const qnt::checkpoint_tensor& t : gpt2::checkpoint_of(file, g)) {  // has all tensors in their shapes
        const auto readable = s.verify ? t.read() : std::vector<float>();
        if (!readable) throw qnt::exception(readable.error());
    }
    const gpt2::tokenizer tokenizer(s.file);
    if (tokenizer.vocab_size() != g.vocab_size)
        throw std::runtime_error(folder + "vocab.json: has " + std::to_string(tokenizer.vocab_size()) + " tokens with ids, config.json says " +
                                 std::to_string(g.vocab_size));
    for (auto& fact : facts_of(g)) c.facts.push_back(std::move(fact));
    return c;
}

void run(const settings& s) {
    qnt::thread_pool pool;
    contents c;
    switch (kind_of(s.file)) {
    case kind::safetensors: c = of_safetensors(s, pool); break;
    case kind::gguf: c = of_gguf(s, pool); break;
    case kind::archive: c = of_archive(s, pool); break;
    case kind::npy: c = of_npy(s); break;
    case kind::folder: c = of_folder(s, pool); break;
    case kind::config: c = of_config(s); break;
    case kind::tokenizer: c = of_tokenizer(s); break;
    }
    if (s.json) std::puts(tools::dump(to_json(c)).c_str());
    else print(c);
}

}  // namespace

int main(int argc, char** argv) {
    settings s;
    CLI::App app{"Shows what is inside of a file of weights: header, metadata, tensors. Exit 1 if it is not sound."};
    app.add_option("FILE", s.file, "safetensors (file, folder or index.json), GGUF, .qnt, .npy, config.json, vocab.json, merges.txt")->required();
    app.add_flag("--json", s.json, "one JSON object instead of tables");
    app.add_flag("--verify", s.verify, "read all data: checksums, finite numbers, every block");
    return tools::run_program("qnt-inspect", app, argc, argv, [&] { run(s); });
}
