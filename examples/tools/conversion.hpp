// What became of each tensor, or will: the honest table at the end, and the same as JSON.
//
// The JSON object; fields are never taken away:
//   in, out     {file: name without folders, format}
//   written     false: a plan, nothing was read or written
//   policy      the rules, as [[pattern, format], ...]
//   tensors     list of {name, shape, from, to, elements, bytes, bits_per_weight, kept, lossless, outliers, errors}: name, shape and bytes as
//               in the new file, padding included; kept: no matrix, so not quantized; lossless: stored codes were taken over as they are;
//               outliers: columns kept as f16; errors: null, or {sqnr_db (null: none was made), mse, max_abs, worst_row, worst_row_sqnr_db, zero_groups, underflowed}
//   totals      {tensors, elements, bytes, bits_per_weight, information_bits_per_weight}: the latter without padding
#pragma once
#include <cmath>
#include <optional>

#include <qnt/report.hpp>

#include "contents.hpp"
#include "rules.hpp"

namespace tools {

struct converted_tensor {
    std::string name;
    std::vector<std::size_t> shape;
    std::string from, to;
    std::uint64_t elements = 0, bytes = 0, information_bytes = 0;
    bool is_kept = false, is_lossless = false;
    std::size_t outliers = 0;
    std::optional<qnt::quantization_report> errors = std::nullopt;

    double bits() const { return elements ? 8.0 * double(bytes) / double(elements) : 0.0; }
};

struct conversion {
    std::string in, in_format, out, out_format;
    bool is_written = false;
    std::vector<converted_tensor> tensors;

    converted_tensor total() const {
        converted_tensor all;
        for (const converted_tensor& t : tensors) {
            all.elements += t.elements;
            all.bytes += t.bytes;
            all.information_bytes += t.information_bytes;
        }
        return all;
    }
};

inline nlohmann::ordered_json number_or_null(double x) { return std::isfinite(x) ? nlohmann::ordered_json(x) : nullptr; }

inline nlohmann::ordered_json to_json(const conversion& c, const rules& policy) {
    using json = nlohmann::ordered_json;
    json j{{"in", {{"file", c.in}, {"format", c.in_format}}}, {"out", {{"file", c.out}, {"format", c.out_format}}}, {"written", c.is_written}};
    j["policy"] = json::array();
    for (const rule& r : policy.all()) j["policy"].push_back(json::array({r.pattern, r.format}));
    j["tensors"] = json::array();
    for (const converted_tensor& t : c.tensors) {
        json errors;
        if (const auto& e = t.errors)
            errors = {{"sqnr_db", number_or_null(e->sqnr_db)},
                      {"mse", e->mse},
                      {"max_abs", e->max_abs.error},
                      {"worst_row", e->worst.row},
                      {"worst_row_sqnr_db", number_or_null(e->worst.sqnr_db)},
                      {"zero_groups", e->zero_groups},
                      {"underflowed", e->underflowed}};
        j["tensors"].push_back({{"name", t.name},
                                {"shape", t.shape},
                                {"from", t.from},
                                {"to", t.to},
                                {"elements", t.elements},
                                {"bytes", t.bytes},
                                {"bits_per_weight", t.bits()},
                                {"kept", t.is_kept},
                                {"lossless", t.is_lossless},
                                {"outliers", t.outliers},
                                {"errors", errors}});
    }
    const converted_tensor total = c.total();
    j["totals"] = {{"tensors", c.tensors.size()},
                   {"elements", total.elements},
                   {"bytes", total.bytes},
                   {"bits_per_weight", total.bits()},
                   {"information_bits_per_weight", total.elements ? 8.0 * double(total.information_bytes) / double(total.elements) : 0.0}};
    return j;
}

inline void print(const conversion& c) {
    table t({"tensor", "shape", "from", "to", ">bytes", ">bits/weight", ">SQNR dB", ">worst row"});
    const auto decibels = [](double db) { return std::isinf(db) ? std::string("exact") : decimal(db, 1); };
    for (const converted_tensor& e : c.tensors) {
        std::string quality = "-", worst = "-";
        if (e.is_kept || e.is_lossless) quality = e.is_kept ? "kept" : "lossless";
        else if (e.errors) {
            quality = decibels(e.errors->sqnr_db);
            if (std::isfinite(e.errors->worst.sqnr_db)) worst = std::to_string(e.errors->worst.row) + ": " + decibels(e.errors->worst.sqnr_db);
        }
        const std::string to = e.to + (e.outliers ? " + " + std::to_string(e.outliers) + " outliers" : "");
        t.add({qnt::printable(e.name, 100), shape_text(e.shape), qnt::printable(e.from), to, std::to_string(e.bytes), decimal(e.bits()), quality,
               worst});
    }
    const converted_tensor total = c.total();
    t.add({std::to_string(c.tensors.size()) + " tensors", std::to_string(total.elements), "", "", std::to_string(total.bytes), decimal(total.bits()),
           "", ""});
    t.print(stdout);
}

}  // namespace tools
