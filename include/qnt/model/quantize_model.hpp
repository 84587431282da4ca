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
#include <string>
#include <vector>

#include "../io/archive.hpp"
#include "policy.hpp"

namespace qnt {

struct checkpoint_tensor {
    std::string name;
    std::vector<std::size_t> shape;                    // as stored, row-major
    bool transposed = false;                           // a matrix stored as [in, out], as GPT-2's Conv1D: said by the loader, never guessed
    std::function<result<std::vector<float>>()> read;  // all elements, row-major; called once, when its turn comes
};
using checkpoint = std::vector<checkpoint_tensor>;

struct tensor_report {
    std::string name;
    std::vector<std::size_t> shape;  // [out, in] of matrices
    any_format format;
    bool kept = false;           // not a matrix: numbers as they were, in `format`
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

// One tensor of a checkpoint into the archive.
class model_quantizer {
public:
    model_quantizer(const policy& rules, bool strict, executor_ref executor) : rules_(rules), strict_(strict), executor_(executor) {}

    result<tensor_report> add(const checkpoint_tensor& t) {
        const auto format = rules_.format_for(t.name);
        if (!format) return format.error();
        const auto values = t.read();
        if (!values) return values.error();
        std::size_t elements = 1;
        for (const std::size_t d : t.shape) elements *= d;
        if (values->size() != elements)
            return error{errc::invalid_argument,
                         "the loader read " + std::to_string(values->size()) + " elements, the shape has " + std::to_string(elements)};
        tensor_report r{t.name, t.shape, *format, t.shape.size() != 2, {}};
        QNT_TRY(r.kept ? keep(r, *values) : quantize_matrix(r, *values, t.transposed));
        return r;
    }
    result<void> finish(const std::string& path, const std::vector<std::pair<std::string, std::string>>& metadata) {
        QNT_TRY(out_.set_metadata("policy", rules_.to_json()));
        for (const auto& [key, value] : metadata) QNT_TRY(out_.set_metadata(key, value));
        return out_.finish(path, executor_);
    }

private:
    result<void> quantize_matrix(tensor_report& r, const std::vector<float>& values, bool transposed) {
        const matrix_view<const float> stored{values.data(), r.shape[0], r.shape[1]}, w = transposed ? stored.transposed() : stored;
        r.shape = {w.rows, w.cols};
        auto packed = quantize(w, r.format, {.strict = strict_, .report = &r.report}, executor_);
        if (!packed) return packed.error();
        return out_.add(r.name, std::move(*packed));
    }
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
