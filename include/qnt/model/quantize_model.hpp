// A whole checkpoint into an archive, tensor by tensor, by a policy, with an account of what became of each.
//
//     qnt::checkpoint in;                                                              // what the loader of a model knows
//     in.push_back({"h.0.mlp.c_fc", {768, 3072}, true, [&] { return file.read_f32("h.0.mlp.c_fc.weight"); }});
//     qnt::model_report report = qnt::quantize_model(in, policy, "gpt2.qnt", {}, pool).value();
//
// Matrices (rank 2) get the format of the first rule that matches their name. Other ranks have no panels: they stay f32 arrays, or
// become f16 or bf16 where their rule says so; the report lists them as kept.
#pragma once
#include <deque>
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
    bool is_array = false;                                       // no factor of products, though it may have two dimensions: numbers are kept
    std::string stored_as = {};                                  // for people: "F16", "Q4_0", "nf4:64"
    // Where the stored numbers are those of a format of qnt, codes and scales: which one, and how to have them without any loss.
    std::optional<any_format> packed_format = {};
    std::function<result<any_matrix>()> read_packed = nullptr;  // [rows, cols] as stored, whatever `transposed` says
};
using checkpoint = std::vector<checkpoint_tensor>;

struct tensor_report {
    std::string name;
    std::vector<std::size_t> shape;  // [out, in] of matrices
    any_format format;
    bool kept = false;           // not a matrix: numbers as they were, in `format`
    bool lossless = false;       // codes and scales of the checkpoint as they were
    quantization_report report;  // of matrices; of kept tensors the bytes only
};

struct model_report {
    std::vector<tensor_report> tensors;
    std::size_t parameters = 0;
    std::size_t bytes = 0;  // of information
    double effective_bits() const { return parameters ? 8.0 * double(bytes) / double(parameters) : 0.0; }
};

struct quantize_model_options {
    bool strict = false;                                                                                   // see quantize_options
    std::vector<std::pair<std::string, std::string>> metadata = {};                                        // for the archive
    std::function<bool(std::size_t done, std::size_t total, const std::string& next)> progress = nullptr;  // false: stop
};

namespace detail {

// Arrays that an archive_writer borrows until it is done.
template <class T> using kept_arrays = std::deque<std::vector<T>>;

inline namespace QNT_BASELINE {

template <scalar T>
result<void> keep_array(archive_writer& out, kept_arrays<T>& kept, const std::string& name, const std::vector<float>& values,
                        const std::vector<std::size_t>& shape) {
    std::vector<T> narrow;
    narrow.reserve(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        narrow.push_back(T(values[i]));
        if (!is_finite(values[i])) return error{errc::not_finite, "element " + std::to_string(i) + " is not a finite number"};
        if (!is_finite(float(narrow[i])))
            return error{errc::scale_range, "element " + std::to_string(i) + " overflows " + name_of(scalar_type_of<T>) + "; keep it as f32"};
    }
    kept.push_back(std::move(narrow));
    return out.add(name, std::span<const T>(kept.back()), shape);
}

// Of codes that were taken over.
inline quantization_report lossless_report(const any_view<layout::panels>& w) {
    quantization_report r;
    r.rows = w.shape.rows;
    r.cols = w.shape.cols;
    r.sqnr_db = std::numeric_limits<double>::infinity();
    r.cosine = 1;
    r.bytes = stored_bytes(w.format, w.shape);
    r.bits = bits_per_weight(w.format, w.shape);
    r.groups = rows_layout::scale_count(w.format, w.shape);
    return r;
}

// The stored codes of t, with the report of quantizing them without error.
inline result<any_matrix> take_packed(const checkpoint_tensor& t, quantization_report& r) {
    auto packed = t.read_packed();
    if (!packed) return packed;
    const any_format& f = packed->format();
    if (!(f == *t.packed_format) || packed->rows() != t.shape[0] || packed->cols() != t.shape[1])
        return error{errc::invalid_argument, "the loader read " + f.name() + " " + shape_text(packed->rows(), packed->cols()) + ", it says " +
                                                 t.packed_format->name() + " " + shape_text(t.shape[0], t.shape[1])};
    r = lossless_report(packed->view());
    return packed;
}

// All elements of t.
inline result<std::vector<float>> read_all(const checkpoint_tensor& t) {
    auto values = t.read();
    if (!values) return values;
    std::size_t elements = 1;
    bool fits = true;
    for (const std::size_t d : t.shape) fits = fits && !__builtin_mul_overflow(elements, d, &elements);
    if (!fits || values->size() != elements)
        return error{errc::invalid_argument,
                     "the loader read " + std::to_string(values->size()) + " elements, the shape is " + archive_shape_text(t.shape)};
    return values;
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// A matrix of a checkpoint, [out, in], in r.format: its stored codes where they are of this format, else quantized. Fills in the rest of
// r. Errors: those of quantize() and of the loader.
inline result<any_matrix> quantize_tensor(const checkpoint_tensor& t, tensor_report& r, bool strict = false, executor_ref executor = {}) {
    r.shape = {t.shape[t.transposed], t.shape[!t.transposed]};
    r.lossless = t.read_packed && !t.transposed && t.packed_format == r.format;
    if (r.lossless) return detail::take_packed(t, r.report);
    const auto values = detail::read_all(t);
    if (!values) return values.error();
    const matrix_view<const float> stored{values->data(), t.shape[0], t.shape[1]};
    return quantize(t.transposed ? stored.transposed() : stored, r.format, {.strict = strict, .report = &r.report}, executor);
}

}  // namespace QNT_BASELINE

namespace detail {
inline namespace QNT_BASELINE {

// One tensor of a checkpoint into the archive.
class model_quantizer {
public:
    model_quantizer(const policy& rules, bool strict, executor_ref executor) : rules_(rules), strict_(strict), executor_(executor) {}

    result<tensor_report> add(const checkpoint_tensor& t) {
        const auto format = rules_.format_for(t.name);
        if (!format) return format.error();
        tensor_report r{t.name, t.shape, *format, t.is_array || t.shape.size() != 2, false, {}};
        if (r.kept) {
            const auto values = read_all(t);
            if (!values) return values.error();
            QNT_TRY(keep(r, *values));
            return r;
        }
        auto packed = quantize_tensor(t, r, strict_, executor_);
        if (!packed) return packed.error();
        QNT_TRY(out_.add(r.name, std::move(*packed)));
        return r;
    }
    result<void> finish(const std::string& path, const std::vector<std::pair<std::string, std::string>>& metadata) {
        QNT_TRY(out_.set_metadata("policy", rules_.to_json()));
        for (const auto& [key, value] : metadata) QNT_TRY(out_.set_metadata(key, value));
        return out_.finish(path, executor_);
    }

private:
    result<void> keep(tensor_report& r, const std::vector<float>& values) {
        if (!r.format.info.is_dense()) r.format = format_of<dense_format<float>>();
        const scalar_type type = dense_type(r.format.info);
        r.report.bytes = values.size() * size_of(type);
        if (type == scalar_type::f16) return keep_array(out_, f16_, r.name, values, r.shape);
        if (type == scalar_type::bf16) return keep_array(out_, bf16_, r.name, values, r.shape);
        return keep_array(out_, f32_, r.name, values, r.shape);
    }

    archive_writer out_;
    const policy& rules_;
    bool strict_;
    executor_ref executor_;
    kept_arrays<float> f32_;
    kept_arrays<f16> f16_;
    kept_arrays<bf16> bf16_;
};

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// Writes `path` whole or not at all. Errors name the tensor: those of quantize(), of the policy (no rule matches), of the loader, of
// the file system; cancelled when progress says so.
inline result<model_report> quantize_model(const checkpoint& in, const policy& rules, const std::string& path,
                                           const quantize_model_options& options = {}, executor_ref executor = {}) {
    detail::model_quantizer quantizer(rules, options.strict, executor);
    model_report report;
    for (const checkpoint_tensor& t : in) {
        if (options.progress && !options.progress(report.tensors.size(), in.size(), t.name))
            return error{errc::cancelled, "quantize_model: cancelled before tensor '" + t.name + "'"};
        auto r = quantizer.add(t);
        if (!r) return error{r.error().code, "tensor '" + t.name + "': " + r.error().message};
        std::size_t elements = 1;
        for (const std::size_t d : t.shape) elements *= d;
        report.parameters += elements;
        report.bytes += r->report.bytes;
        report.tensors.push_back(std::move(*r));
    }
    QNT_TRY(quantizer.finish(path, options.metadata));
    return report;
}

}  // namespace QNT_BASELINE
}  // namespace qnt
