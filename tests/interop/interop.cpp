// qnt's side of the checks beside other packages (run.sh): what no tool of the examples offers.
//
//   qnt-interop dump FILE FOLDER                        # each tensor as f32 in FOLDER/N.npy, through panels in N.packed.npy; a list as JSON
//   qnt-interop metadata FILE.gguf                      # all values with their types as JSON
//   qnt-interop write FOLDER                            # numbers.gguf, dtypes.safetensors, TYPE.npy: each type of value once
//   qnt-interop copy IN.npy OUT.npy                     # any .npy, row-major
//   qnt-interop tokens MODEL TEXTS.json                 # ids of each text of a list as JSON
//   qnt-interop logits MODEL FORMAT MODE IDS OUT.npy    # [T, vocab] after each of the ids "1,2,3"
#include <cstdio>
#include <filesystem>

#include <gpt2/load.hpp>
#include <gpt2/tokenizer.hpp>
#include <nlohmann/json.hpp>

namespace {

using json = nlohmann::ordered_json;

std::string text_of_file(const std::string& path) {
    const auto bytes = qnt::read_file(path).value();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// ---- dump ----

struct decoded {
    qnt::result<std::vector<float>> values;
    qnt::result<qnt::any_matrix> panels = qnt::error{qnt::errc::unsupported, "no format of panels"};
    std::vector<std::size_t> shape;
    std::string stored_as;
};

json write(const std::string& name, const decoded& d, const std::string& stem) {
    json j{{"name", name}, {"shape", d.shape}, {"stored_as", d.stored_as}, {"file", nullptr}, {"packed", nullptr}, {"packed_file", nullptr}};
    if (!d.values) return j["error"] = d.values.error().message, j;
    qnt::write_npy(stem + ".npy", *d.values, d.shape).value();
    j["file"] = stem + ".npy";
    if (!d.panels) return j["not_packed"] = d.panels.error().message, j;
    std::vector<float> values(d.values->size());
    qnt::dequantize(qnt::matrix_view<float>{values.data(), d.panels->rows(), d.panels->cols()}, d.panels->view());
    qnt::write_npy(stem + ".packed.npy", values, d.shape).value();
    j["packed"] = d.panels->format().name();
    j["packed_file"] = stem + ".packed.npy";
    return j;
}

void dump(const std::string& path, const std::string& folder, qnt::executor_ref executor) {
    const auto file = qnt::checkpoint_file::open(path, executor).value();
    json list = json::array();
    const auto add = [&](const std::string& name, const decoded& d) { list.push_back(write(name, d, folder + '/' + std::to_string(list.size()))); };
    for (const qnt::checkpoint_tensor& t : file.tensors()) {
        decoded d{t.read(), qnt::error{qnt::errc::unsupported, "no format of panels"}, t.shape, t.stored_as};
        if (t.read_packed) d.panels = t.read_packed();
        add(t.name, d);
    }
    std::puts(list.dump(1).c_str());
}

// ---- metadata ----

json value_of(const qnt::gguf_value& v) {
    using type = qnt::gguf_value_type;
    switch (v.type()) {
    case type::string: return v.as_string().value();
    case type::boolean: return v.as_bool().value();
    case type::f32:
    case type::f64: return v.as_f64().value();
    case type::u64: return v.as_uint64().value();
    case type::array: break;
    default: return v.as_int64().value();
    }
    switch (v.element_type()) {
    case type::string: return v.strings().value();
    case type::boolean: return v.numbers<bool>().value();
    case type::f32:
    case type::f64: return v.numbers<double>().value();
    case type::u64: return v.numbers<std::uint64_t>().value();
    case type::array: break;
    default: return v.numbers<std::int64_t>().value();
    }
    json list = json::array();
    const auto arrays = v.arrays().value();
    for (const qnt::gguf_value& inner : arrays) list.push_back(value_of(inner));
    return list;
}

void metadata(const std::string& path) {
    const auto file = qnt::gguf_file::open(path).value();
    json j = json::object();
    for (const auto& [key, v] : file.metadata()) {
        const auto name = [](qnt::gguf_value_type t) { return qnt::detail::info_of_value(t).name; };
        j[key] = {{"type", name(v.type())}, {"element_type", name(v.element_type())}, {"value", value_of(v)}};
    }
    std::puts(j.dump(1).c_str());
}

// ---- write ----

template <class T> std::vector<T> extremes() { return {std::numeric_limits<T>::lowest(), T(0), T(1), std::numeric_limits<T>::max()}; }

// visit(name, values [2, 2]) for each number type of npy and safetensors.
template <class Visit> void visit_types(const Visit& visit) {
    visit("i8", extremes<std::int8_t>());
    visit("u8", extremes<std::uint8_t>());
    visit("i16", extremes<std::int16_t>());
    visit("u16", extremes<std::uint16_t>());
    visit("i32", extremes<std::int32_t>());
    visit("u32", extremes<std::uint32_t>());
    visit("i64", extremes<std::int64_t>());
    visit("u64", extremes<std::uint64_t>());
    visit("f16", std::vector<qnt::f16>{qnt::f16(-65504.0f), qnt::f16(0.0f), qnt::f16(1.0f), qnt::f16(65504.0f)});
    visit("f32", extremes<float>());
    visit("f64", extremes<double>());
}

void write_safetensors(const std::string& path) {
    using dtype = qnt::safetensors_dtype;
    constexpr std::pair<const char*, dtype> dtypes[] = {{"i8", dtype::i8},   {"u8", dtype::u8},   {"i16", dtype::i16}, {"u16", dtype::u16},
                                                        {"i32", dtype::i32}, {"u32", dtype::u32}, {"i64", dtype::i64}, {"u64", dtype::u64},
                                                        {"f16", dtype::f16}, {"f32", dtype::f32}, {"f64", dtype::f64}};
    qnt::safetensors_writer out;
    for (const auto& [name, type] : dtypes) out.declare(name, type, {2, 2}).value();
    out.declare("bool", dtype::boolean, {3}).value();
    out.declare("bf16", dtype::bf16, {2}).value();
    out.declare("scalar", dtype::f32, {}).value();
    out.declare("empty", dtype::f32, {0, 4}).value();
    out.declare("gr\xc3\xbc\xc3\x9f \"quoted\"", dtype::u8, {1}).value();
    out.set_metadata("format", "pt").value();
    out.set_metadata("note", "gr\xc3\xbc\xc3\x9f \"\\\n\x01").value();
    std::map<std::string, std::vector<std::byte>> bytes;
    visit_types([&](const char* name, const auto& values) {
        const auto b = std::as_bytes(std::span(values));
        bytes[name].assign(b.begin(), b.end());
    });
    bytes["bool"] = {std::byte{1}, std::byte{0}, std::byte{1}};
    bytes["bf16"] = {std::byte{0x80}, std::byte{0x3f}, std::byte{0x00}, std::byte{0xc0}};  // 1, -2
    bytes["scalar"] = {std::byte{0}, std::byte{0}, std::byte{0xc0}, std::byte{0x3f}};      // 1.5
    bytes["gr\xc3\xbc\xc3\x9f \"quoted\""] = {std::byte{7}};
    out.begin(path).value();
    for (const qnt::safetensors_tensor& t : out.order()) out.write(t.name, bytes[t.name]).value();
    out.finish().value();
}

void write_gguf(const std::string& path) {
    qnt::gguf_writer out;
    out.set("general.architecture", "qnt-test").value();
    out.set("general.alignment", std::uint32_t{64}).value();
    out.set("t.u8", std::uint8_t{250}).value();
    out.set("t.i8", std::int8_t{-3}).value();
    out.set("t.u16", std::uint16_t{65535}).value();
    out.set("t.i16", std::int16_t{-300}).value();
    out.set("t.u32", std::uint32_t{4000000000u}).value();
    out.set("t.i32", std::int32_t{-70000}).value();
    out.set("t.f32", 1.5f).value();
    out.set("t.bool", true).value();
    out.set("t.string", "gr\xc3\xbc\xc3\x9f").value();
    out.set("t.u64", std::uint64_t{1} << 63).value();
    out.set("t.i64", std::int64_t{-5000000000}).value();
    out.set("t.f64", 0.1).value();
    out.set("t.strings", std::vector<std::string>{"x", "yz", ""}).value();
    out.set("t.i32s", std::vector<std::int32_t>{-1, 7}).value();
    out.set("t.f32s", std::vector<float>{0.25f, -2}).value();
    out.set("t.bools", std::vector<bool>{true, false}).value();
    const std::vector<float> w{-1, 0.5f, 0, 2, 3, -4};
    out.declare("matrix", qnt::gguf_type::f32, {2, 3}).value();
    out.declare("cube", qnt::gguf_type::f32, {1, 3, 2}).value();
    out.begin(path).value();
    for (const char* name : {"matrix", "cube"}) out.write(name, std::as_bytes(std::span(w))).value();
    out.finish().value();
}

void write_all(const std::string& folder) {
    write_gguf(folder + "/numbers.gguf");
    write_safetensors(folder + "/dtypes.safetensors");
    visit_types([&](const char* name, const auto& values) { qnt::write_npy(folder + '/' + name + ".npy", values, {2, 2}).value(); });
    const float value = 1.5f;
    qnt::write_npy(folder + "/rank0.npy", qnt::npy_dtype::f32, std::as_bytes(std::span(&value, 1)), {}).value();
    qnt::write_npy(folder + "/empty.npy", qnt::npy_dtype::f32, {}, std::array<std::size_t, 2>{0, 3}).value();
}

void copy_npy(const std::string& from, const std::string& to) {
    const auto file = qnt::npy_file::open(from).value();
    const auto as = [&]<class T>(T) { qnt::write_npy(to, file.read<T>().value(), file.shape()).value(); };
    if (file.dtype() == qnt::npy_dtype::boolean || file.shape().empty() || !file.is_fortran())
        return qnt::write_npy(to, file.dtype(), file.data(), file.shape()).value();
    bool is_done = false;
    visit_types([&]<class T>(const char*, const std::vector<T>&) {
        if (int(file.dtype()) != qnt::npy_dtype_of<T>) return;
        as(T{});
        is_done = true;
    });
    if (!is_done) throw std::runtime_error(from + ": no dtype that is copied here");
}

// ---- GPT-2 ----

void tokens(const std::string& model, const std::string& path) {
    const gpt2::tokenizer tokenizer(model);
    json ids = json::array();
    for (const auto& text : json::parse(text_of_file(path))) ids.push_back(tokenizer.encode(text.get<std::string>()));
    std::puts(ids.dump().c_str());
}

void logits(const std::string& path, const std::string& format, const std::string& mode, const std::string& list, const std::string& out,
            qnt::executor_ref executor) {
    const qnt::compute_mode how = mode == "exact" ? qnt::exact : mode == "int8" ? qnt::int8_activations : qnt::automatic;
    const gpt2::model model = gpt2::load_model(path, {.weights = {{"*", qnt::any_format::parse(format).value()}}, .mode = how}, executor);
    const auto ids = json::parse('[' + list + ']').get<std::vector<std::int32_t>>();
    gpt2::session session(model, executor);
    qnt::write_npy(out, session.forward_all(ids), {ids.size(), model.config().vocab_size}).value();
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> a(argv + 1, argv + argc);
    const auto is = [&](const char* command, std::size_t arguments) { return a.size() == arguments + 1 && a[0] == command; };
    try {
        qnt::thread_pool pool;
        if (is("dump", 2)) dump(a[1], a[2], pool);
        else if (is("metadata", 1)) metadata(a[1]);
        else if (is("write", 1)) write_all(a[1]);
        else if (is("copy", 2)) copy_npy(a[1], a[2]);
        else if (is("tokens", 2)) tokens(a[1], a[2]);
        else if (is("logits", 5)) logits(a[1], a[2], a[3], a[4], a[5], pool);
        else throw std::runtime_error("unknown command, or another number of arguments: see the first lines of interop.cpp");
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "qnt-interop: %s\n", e.what());
        return 1;
    }
}
