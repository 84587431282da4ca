// A whole checkpoint into an archive, tensor by tensor, by a policy, with an account of what became of each.
//
//     qnt::checkpoint in;                                                              // what the loader of a model knows
//     in.push_back({"h.0.mlp.c_fc", {768, 3072}, true, [&] { return file.read_f32("h.0.mlp.c_fc.weight"); }});
//     qnt::model_report report = qnt::quantize_model(in, policy, "gpt2.qnt", {}, pool).value();
//
//     qnt::plan_model(in, policy).value().effective_bits();                            // what it will be, before anything is read
//
// Matrices (rank 2) get the format of the first rule that matches their name. Other ranks have no panels: they stay f32 arrays, or
// become f16 or bf16 where their rule says so; the report lists them as kept.
#pragma once
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "../io/archive.hpp"
#include "policy.hpp"

namespace qnt {

struct checkpoint_tensor {
    std::string name;
    std::vector<std::size_t> shape;                              // as stored, row-major
    bool transposed = false;                                     // a matrix stored as [in, out], as GPT-2's Conv1D: said by the loader, never guessed
    std::function<result<std::vector<float>>()> read = nullptr;  // all elements, row-major; called once, when its turn comes
    std::span<const float> in_place = {};                        // the same where they lie already, as f32 of a file: see values_of()
    std::function<void()> forget = nullptr;                      // gives its pages of a mapped file back; what reads them again, gets them again
    bool is_array = false;                                       // no factor of products, though it may have two dimensions: numbers are kept
    std::string stored_as = {};                                  // for people: "F16", "Q4_0", "nf4:64"
    // Where the stored numbers are those of a format of qnt, codes and scales: which one, and how to have them without any loss.
    std::optional<any_format> packed_format = {};
    input_transform packed_transform = input_transform::none;
    // [rows, cols] as stored, whatever `transposed` says. The error unsupported: it is not, though it looked like it; it is read and quantized
    // (not lossless, says the report), unless it was to have a transform.
    std::function<result<any_matrix>()> read_packed = nullptr;
    std::size_t packed_outliers = 0;      // how many columns, where that is the transform
    std::vector<std::string> parts = {};  // names of the tensors of the file that it is stored as, where they are several
    // The largest magnitude of each of its inputs, [in], over some text: what outlier columns are chosen by. Empty: not known.
    std::vector<float> input_absmax = {};
};
using checkpoint = std::vector<checkpoint_tensor>;

struct tensor_report {
    std::string name;
    std::vector<std::size_t> shape;  // [out, in] of matrices
    any_format format;
    bool kept = false;      // not a matrix: numbers as they were, in `format`
    bool lossless = false;  // codes and scales of the checkpoint as they were; in a plan: as far as is known before they are read
    input_transform transform = input_transform::none;
    quantization_report report;                // of matrices; of kept tensors the bytes only
    std::vector<std::uint32_t> outliers = {};  // columns to keep as f16; not those of codes that are taken over
};

struct model_report {
    std::vector<tensor_report> tensors;
    std::size_t parameters = 0;
    std::size_t bytes = 0;  // of information
    double effective_bits() const { return parameters ? 8.0 * double(bytes) / double(parameters) : 0.0; }
};

struct quantize_model_options {
    bool strict = false;  // see quantize_options; also, codes that were planned to be taken over are never quantized anew
    std::vector<std::pair<std::string, std::string>> metadata = {};                                        // for the archive
    std::function<bool(std::size_t done, std::size_t total, const std::string& next)> progress = nullptr;  // false: stop
};

namespace detail {
inline namespace QNT_BASELINE {

inline error of_tensor(const checkpoint_tensor& t, const error& e) { return {e.code, "tensor '" + t.name + "': " + e.message}; }

inline result<std::size_t> elements_of(const checkpoint_tensor& t) {
    std::size_t n = 1;
    for (const std::size_t d : t.shape)
        if (__builtin_mul_overflow(n, d, &n)) return error{errc::invalid_argument, "the number of its elements overflows 64 bits"};
    return n;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// All elements, row-major: where they lie, or else read into `space`. Errors: those of the loader; invalid_argument (another number of
// elements than the shape has).
inline result<std::span<const float>> values_of(const checkpoint_tensor& t, std::vector<float>& space) {
    const auto elements = detail::elements_of(t);
    if (!elements) return elements.error();
    std::span<const float> values = t.in_place;
    if (values.empty()) {
        auto read = t.read();
        if (!read) return read.error();
        space = std::move(*read);
        values = space;
    }
    if (values.size() != *elements)
        return error{errc::invalid_argument,
                     "the loader read " + std::to_string(values.size()) + " elements, the shape has " + std::to_string(*elements)};
    return values;
}

}  // namespace QNT_BASELINE

namespace detail {
inline namespace QNT_BASELINE {

// What becomes of a tensor, as far as its name and shape say.
inline result<tensor_report> plan_tensor(const checkpoint_tensor& t, const policy& rules) {
    const auto rule = rules.rule_for(t.name);
    if (!rule) return rule.error();
    const any_format* const format = &rule->format;
    const auto elements = elements_of(t);
    if (!elements) return elements.error();
    tensor_report r{t.name, t.shape, *format, t.is_array || t.shape.size() != 2, false, {}, {}};
    if (r.kept && !format->info.is_dense()) r.format = format_of<dense_format<float>>();
    if (!r.kept && t.transposed) std::swap(r.shape[0], r.shape[1]);
    const bool wants_outliers = !r.kept && rule->outliers != 0;
    r.lossless = !r.kept && !t.transposed && t.read_packed && t.packed_format == *format &&
                 wants_outliers == (t.packed_transform == input_transform::outliers);
    if (r.lossless) r.transform = t.packed_transform;
    if (wants_outliers && !r.lossless) {
        if (t.input_absmax.size() != r.shape[1])
            return error{errc::invalid_argument,
                         rule->format_name() + " chooses columns by the largest magnitude of their inputs, and " +
                             (t.input_absmax.empty()
                                  ? "nothing says what that is: run the model over a text (calibrate) first"
                                  : "there are " + std::to_string(t.input_absmax.size()) + " for the " + std::to_string(r.shape[1]) + " columns")};
        r.outliers = pick_outliers(t.input_absmax, rule->outliers);
        if (!r.outliers.empty()) r.transform = input_transform::outliers;
    }
    std::size_t bytes = 0;
    if (!(r.kept ? array_bytes_of(r.format, r.shape, bytes) : panel_bytes_of(r.format, r.shape, bytes)))
        return error{errc::invalid_argument, "shape " + archive_shape_text(r.shape) + " is impossible for " + r.format.name()};
    if (r.kept) {
        r.report.bytes = bytes;
    } else {
        const packed_shape shape = format->shape(r.shape[0], r.shape[1]);
        const std::size_t outliers = r.lossless ? t.packed_outliers : r.outliers.size();
        r.report.cols = shape.cols;
        r.report.outliers = outliers;
        r.report.bytes = stored_bytes(format->info, shape, outliers);
        r.report.bits = bits_per_weight(format->info, shape, outliers);
        r.report.groups = rows_layout::scale_count(format->info, shape);
    }
    return r;
}

template <scalar T> result<void> keep_array(archive_writer& out, const std::string& name, std::span<const float> values, executor_ref executor) {
    std::vector<T> narrow;
    narrow.reserve(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        narrow.push_back(T(values[i]));
        if (!is_finite(values[i])) return error{errc::not_finite, "element " + std::to_string(i) + " is not a finite number"};
        if (!is_finite(float(narrow[i])))
            return error{errc::scale_range, "element " + std::to_string(i) + " overflows " + name_of(scalar_type_of<T>) + "; keep it as f32"};
    }
    return out.write(name, std::span<const T>(narrow), executor);
}

// The stored codes as planned, with the report of quantizing them without error.
inline result<any_matrix> take_packed(const checkpoint_tensor& t, tensor_report& plan) {
    auto packed = t.read_packed();
    if (!packed) return packed;
    if (!(packed->format() == plan.format) || packed->view().transform() != plan.transform || packed->outliers().count() != plan.report.outliers ||
        packed->rows() != plan.shape[0] || packed->cols() != plan.shape[1])
        return error{errc::invalid_argument, "the loader read " + packed->format().name() + " " + shape_text(packed->rows(), packed->cols()) +
                                                 ", it says " + plan.format.name() + " " + archive_shape_text(plan.shape)};
    plan.report.rows = packed->rows();
    plan.report.cols = packed->cols();
    plan.report.sqnr_db = std::numeric_limits<double>::infinity();
    plan.report.cosine = 1;
    return packed;
}

// A matrix as planned, [out, in]: its stored codes where they are of this format, else quantized.
inline result<any_matrix> quantize_tensor(const checkpoint_tensor& t, tensor_report& plan, bool strict, executor_ref executor) {
    if (plan.lossless) {
        auto packed = take_packed(t, plan);
        // Format and size stay as planned; a transform could not, and it is declared already.
        if (packed || packed.error().code != errc::unsupported || plan.transform != input_transform::none || strict) return packed;
        plan.lossless = false;
    }
    std::vector<float> space;
    const auto values = values_of(t, space);
    if (!values) return values.error();
    const matrix_view<const float> stored{values->data(), t.shape[0], t.shape[1]};
    return quantize(t.transposed ? stored.transposed() : stored, plan.format, {.strict = strict, .report = &plan.report, .outliers = plan.outliers},
                    executor);
}

// One tensor as planned into the archive, whose turn it is.
inline result<void> write_tensor(archive_writer& out, const checkpoint_tensor& t, tensor_report& plan, bool strict, executor_ref executor) {
    if (!plan.kept) {
        const auto packed = quantize_tensor(t, plan, strict, executor);
        return packed ? out.write(t.name, packed->view(), executor) : packed.error();
    }
    std::vector<float> space;
    const auto values = values_of(t, space);
    if (!values) return values.error();
    switch (dense_type(plan.format.info)) {
    case scalar_type::f16: return keep_array<f16>(out, t.name, *values, executor);
    case scalar_type::bf16: return keep_array<bf16>(out, t.name, *values, executor);
    default: return keep_array<float>(out, t.name, *values, executor);
    }
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// One matrix of rank 2 alone, [out, in]; `report` becomes what quantize_model() would report. Errors: not_found (no rule matches), those of
// quantize() and of the loader.
inline result<any_matrix> quantize_tensor(const checkpoint_tensor& t, const policy& rules, tensor_report& report, executor_ref executor = {}) {
    auto plan = detail::plan_tensor(t, rules);
    if (!plan) return plan.error();
    if (plan->kept) return error{errc::invalid_argument, "shape " + detail::archive_shape_text(t.shape) + " is no matrix"};
    report = std::move(*plan);
    return detail::quantize_tensor(t, report, false, executor);
}

// What quantize_model() would make of it, without reading any data: formats, shapes and sizes; the errors are not known.
// Errors: not_found (no rule matches), invalid_argument (a shape that overflows), naming the tensor.
inline result<model_report> plan_model(const checkpoint& in, const policy& rules) {
    model_report report;
    for (const checkpoint_tensor& t : in) {
        auto r = detail::plan_tensor(t, rules);
        if (!r) return detail::of_tensor(t, r.error());
        report.parameters += *detail::elements_of(t);
        report.bytes += r->report.bytes;
        report.tensors.push_back(std::move(*r));
    }
    return report;
}

// Writes `path` whole or not at all, with no more than one tensor in memory. Errors name the tensor: those of plan_model(), of the
// loader, of quantize(), of the file system; cancelled when progress says so.
inline result<model_report> quantize_model(const checkpoint& in, const policy& rules, const std::string& path,
                                           const quantize_model_options& options = {}, executor_ref executor = {}) {
    auto report = plan_model(in, rules);
    if (!report) return report;
    archive_writer out;
    for (std::size_t i = 0; i < in.size(); ++i) {
        const tensor_report& r = report->tensors[i];
        const auto declared =
            out.declare(r.name, r.format, r.kept ? archive_layout::array : archive_layout::panels, r.shape, r.transform, r.report.outliers);
        if (!declared) return detail::of_tensor(in[i], declared.error());
    }
    QNT_TRY(out.set_metadata("policy", rules.to_json()));
    for (const auto& [key, value] : options.metadata) QNT_TRY(out.set_metadata(key, value));
    QNT_TRY(out.begin(path));
    for (std::size_t i = 0; i < in.size(); ++i) {
        if (options.progress && !options.progress(i, in.size(), in[i].name))
            return error{errc::cancelled, "quantize_model: cancelled before tensor '" + in[i].name + "'"};
        const auto written = detail::write_tensor(out, in[i], report->tensors[i], options.strict, executor);
        if (in[i].forget) in[i].forget();
        if (!written) return detail::of_tensor(in[i], written.error());
    }
    QNT_TRY(out.finish());
    return report;
}

}  // namespace QNT_BASELINE
}  // namespace qnt
