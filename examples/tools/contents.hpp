// What is inside of a file, the same for all formats, as text and as JSON.
//
// The JSON object; fields are never taken away:
//   file        the path as given
//   format      "safetensors", "gguf", "qnt", "npy", "gpt2"
//   version     of the format, as text; "" where it has none
//   bytes       of all files it consists of
//   facts       object of what else the header says: strings by name
//   metadata    object of the file's own texts; one longer than 1000 bytes is cut and ends in "..."
//   tensors     list of {name, shape, format, elements, bytes, bits_per_weight}: as stored, padding included
//   totals      {tensors, elements, bytes, effective_bits}: bits_per_weight of all together
//   verified    true: all data were read and are sound (--verify)
// Bytes that are not UTF-8 become U+FFFD, all that is not ASCII is escaped.
#pragma once
#include <cstdint>
#include <utility>

#include <nlohmann/json.hpp>

#include "../program.hpp"
#include "table.hpp"

namespace tools {

struct tensor_entry {
    std::string name;
    std::vector<std::size_t> shape;
    std::string format;
    std::uint64_t elements = 0, bytes = 0;

    double bits() const { return elements ? 8.0 * double(bytes) / double(elements) : 0.0; }
};

using text_pairs = std::vector<std::pair<std::string, std::string>>;

struct contents {
    std::string file, format, version;
    std::uint64_t bytes = 0;
    text_pairs facts, metadata;
    std::vector<tensor_entry> tensors;
    bool is_verified = false;

    tensor_entry total() const {
        tensor_entry all{"total", {}, "", 0, 0};
        for (const tensor_entry& t : tensors) {
            all.elements += t.elements;
            all.bytes += t.bytes;
        }
        return all;
    }
};

inline std::string shortened(const std::string& s, std::size_t limit) { return s.size() <= limit ? s : s.substr(0, limit) + "..."; }

// ASCII only: neither control characters nor broken UTF-8 reach a terminal.
inline std::string dump(const nlohmann::ordered_json& j) { return j.dump(1, ' ', true, nlohmann::json::error_handler_t::replace); }

inline nlohmann::ordered_json to_json(const contents& c) {
    nlohmann::ordered_json j{{"file", c.file}, {"format", c.format}, {"version", c.version}, {"bytes", c.bytes}};
    const auto object = [](const text_pairs& pairs) {
        auto o = nlohmann::ordered_json::object();
        nlohmann::ordered_json::object_t& fields = o.get_ref<nlohmann::ordered_json::object_t&>();
        for (const auto& [key, value] : pairs) fields.push_back({key, shortened(value, 1000)});  // readers see to it that keys are unique
        return o;
    };
    j["facts"] = object(c.facts);
    j["metadata"] = object(c.metadata);
    j["tensors"] = nlohmann::ordered_json::array();
    for (const tensor_entry& t : c.tensors)
        j["tensors"].push_back({{"name", t.name},
                                {"shape", t.shape},
                                {"format", t.format},
                                {"elements", t.elements},
                                {"bytes", t.bytes},
                                {"bits_per_weight", t.bits()}});
    const tensor_entry total = c.total();
    j["totals"] = {{"tensors", c.tensors.size()}, {"elements", total.elements}, {"bytes", total.bytes}, {"effective_bits", total.bits()}};
    j["verified"] = c.is_verified;
    return j;
}

inline void print(const contents& c) {
    const auto show = [](const std::string& s) { return qnt::printable(s, 100); };
    table head(2);
    head.add({"file", show(c.file)});
    head.add({"format", c.format + (c.version.empty() ? "" : " " + c.version)});
    head.add({"bytes", std::to_string(c.bytes)});
    for (const auto& [key, value] : c.facts) head.add({show(key), show(value)});
    for (const auto& [key, value] : c.metadata)
        head.add({"metadata " + show(key), show(value) + (value.size() > 100 ? " (" + std::to_string(value.size()) + " bytes)" : "")});
    if (c.is_verified) head.add({"verified", "all data"});
    head.print(stdout);
    if (c.tensors.empty()) return;
    std::puts("");

    table t({"tensor", "shape", "format", ">bytes", ">bits/weight"});
    for (const tensor_entry& e : c.tensors) t.add({show(e.name), shape_text(e.shape), show(e.format), std::to_string(e.bytes), decimal(e.bits())});
    const tensor_entry total = c.total();
    t.add({std::to_string(c.tensors.size()) + " tensors", std::to_string(total.elements), "", std::to_string(total.bytes), decimal(total.bits())});
    t.print(stdout);
}

}  // namespace tools
