// A checkpoint into a .safetensors: matrices as bitsandbytes saves them or as plain numbers, the rest as plain numbers.
//
// The writer lays tensors down by type, so that the scales of all matrices come before the codes of the first. Each matrix is quantized
// twice: once for all but its codes, which is kept (a sixteenth of a byte a weight with blocks of 64), once for its codes.
#pragma once
#include <map>

#include "job.hpp"
#include "measure.hpp"

namespace tools {

struct safetensors_plan {
    converted_tensor report;
    std::optional<qnt::bitsandbytes_options> quantized;  // none: plain numbers
    qnt::scalar_type plain = qnt::scalar_type::f32;
    bool is_swapped = false;  // what is stored is the transpose of what is written
};

// Throws for formats that such a file does not have.
inline safetensors_plan safetensors_format(const std::string& format) {
    safetensors_plan p;
    const std::size_t colon = format.find(':');
    const std::string name = format.substr(0, colon);
    std::uint64_t blocksize = 64;
    const bool has_block = colon != std::string::npos, is_block = !has_block || qnt::parse_number(format.substr(colon + 1), blocksize);
    using kind = qnt::bitsandbytes_kind;
    if (format == "f32" || format == "f16" || format == "bf16") {
        p.plain = format == "f32" ? qnt::scalar_type::f32 : format == "f16" ? qnt::scalar_type::f16 : qnt::scalar_type::bf16;
    } else if (format == "int8_channel") {
        p.quantized = {.kind = kind::llm_int8};
    } else if (is_block && qnt::detail::is_blocksize(blocksize) && (name == "nf4" || name == "nf4_dq" || name == "fp4" || name == "fp4_bnb")) {
        p.quantized = {.kind = name.starts_with("nf4") ? kind::nf4 : kind::fp4, .blocksize = blocksize, .nested = name == "nf4_dq"};
    } else {
        throw std::runtime_error("format " + qnt::in_quotes(format) +
                                 ": safetensors are written as f32, f16, bf16, int8_channel (LLM.int8), nf4:B, " +
                                 "nf4_dq:B and fp4:B, B a power of two from 32 to 4096");
    }
    return p;
}

// Hugging Face stores these matrices of GPT-2 as [in, out]; bitsandbytes turns them.
inline bool is_conv1d(const job& j, const std::string& name) {
    return j.in.gpt2 && name.starts_with("h.") && name.ends_with(".weight") && name.find(".ln_") == std::string::npos;
}

inline safetensors_plan plan_safetensors(const job& j, const qnt::checkpoint_tensor& t) {
    const std::string& format = j.policy.format_for(t.name);
    safetensors_plan p = safetensors_format(format);
    converted_tensor& r = p.report;
    r.name = t.name;
    r.shape = t.shape;
    r.from = t.stored_as;
    r.elements = source::elements_of(t);
    r.is_kept = t.is_array || t.shape.size() != 2;
    if (r.is_kept) p.quantized.reset();
    if (p.quantized && t.name != "weight" && !t.name.ends_with(".weight"))
        throw std::runtime_error(j.in.path + ": tensor " + qnt::in_quotes(t.name) +
                                 ": names of bitsandbytes' matrices end in \".weight\"; keep it as f16");
    p.is_swapped = !r.is_kept && t.transposed != (!p.quantized && is_conv1d(j, t.name));
    if (p.is_swapped) std::swap(r.shape[0], r.shape[1]);
    r.to = p.quantized ? format : qnt::name_of(p.plain);
    if (!p.quantized) {
        r.bytes = r.elements * qnt::size_of(p.plain);
    } else if (p.quantized->kind == qnt::bitsandbytes_kind::llm_int8) {
        r.bytes = r.elements + r.shape[0] * sizeof(float) + 1;
    } else {
        const std::uint64_t blocks = qnt::ceil_div(r.elements, p.quantized->blocksize);
        r.bytes = qnt::ceil_div(r.elements, std::size_t{2}) + 16 * sizeof(float);
        r.bytes += p.quantized->nested ? blocks + (256 + qnt::ceil_div(blocks, qnt::nested_block)) * sizeof(float) : blocks * sizeof(float);
    }
    r.information_bytes = r.bytes;
    return p;
}

class safetensors_conversion {
public:
    explicit safetensors_conversion(const job& j) : job_(j) {
        for (const qnt::checkpoint_tensor& t : j.in.tensors) plans_.push_back(plan_safetensors(j, t));
        for (const auto& [key, value] : provenance_of(j)) out_.set_metadata(key == "policy" ? "qnt_policy" : key, value).value();
        out_.set_metadata("format", "pt").value();
    }

    void write() {
        progress bar(2 * job_.elements_before(plans_.size()));
        for (std::size_t i = 0; i < plans_.size(); ++i) {
            step(bar, i, 0);
            declare(i);
        }
        out_.begin(job_.out).value();
        double done = job_.elements_before(plans_.size());
        for (const qnt::safetensors_tensor& t : out_.order()) {
            const std::size_t i = owner_.at(t.name);
            step(bar, i, done);
            write(t, i);
            done += double(t.elements);
        }
        stop_if_interrupted();
        out_.finish().value();
        const auto written = qnt::safetensors_file::open(job_.out).value();
        for (std::size_t i = 0; i < plans_.size(); ++i)
            if (!plans_[i].report.is_kept) measure_written(written, i);
    }
    std::vector<converted_tensor> reports() {
        std::vector<converted_tensor> all;
        for (safetensors_plan& p : plans_) all.push_back(std::move(p.report));
        return all;
    }

private:
    static void stop_if_interrupted() {
        if (interrupted) throw interruption();
    }
    void step(progress& bar, std::size_t i, double done) {
        bar.show(done + (done == 0 ? job_.elements_before(i) : 0), plans_[i].report.name);
        stop_if_interrupted();
    }
    template <class T> T get(std::size_t i, qnt::result<T> r) {
        if (!r) throw std::runtime_error(job_.in.path + ": tensor " + qnt::in_quotes(plans_[i].report.name) + ": " + r.error().message);
        return std::move(*r);
    }

    // As it will lie in the file.
    std::vector<float> read(std::size_t i) {
        const qnt::checkpoint_tensor& t = job_.in.tensors[i];
        std::vector<float> values = get(i, t.read());
        if (t.forget) t.forget();
        return plans_[i].is_swapped ? transposed(values, t.shape[0], t.shape[1]) : values;
    }
    std::vector<qnt::named_array> quantize(std::size_t i) {
        const safetensors_plan& p = plans_[i];
        const std::vector<float> values = read(i);
        const qnt::matrix_view<const float> w{values.data(), p.report.shape[0], p.report.shape[1]};
        return get(i, qnt::write_bitsandbytes(p.report.name, w, *p.quantized, job_.executor));
    }

    void declare(std::size_t i) {
        const safetensors_plan& p = plans_[i];
        const auto add = [&](const std::string& name, qnt::safetensors_dtype dtype, const std::vector<std::size_t>& shape) {
            out_.declare(name, dtype, shape).value();
            owner_[name] = i;
        };
        using dtype = qnt::safetensors_dtype;
        if (!p.quantized)
            return add(p.report.name,
                       p.plain == qnt::scalar_type::f32   ? dtype::f32
                       : p.plain == qnt::scalar_type::f16 ? dtype::f16
                                                          : dtype::bf16,
                       p.report.shape);
        for (qnt::named_array& a : quantize(i)) {
            add(a.name, a.dtype, a.shape);
            if (a.name != p.report.name) parts_[a.name] = std::move(a.bytes);
        }
    }

    void write(const qnt::safetensors_tensor& t, std::size_t i) {
        if (const auto part = parts_.find(t.name); part != parts_.end()) {
            out_.write(t.name, part->second).value();
            parts_.erase(part);
        } else if (plans_[i].quantized) {
            out_.write(t.name, quantize(i)[0].bytes).value();
        } else if (plans_[i].plain == qnt::scalar_type::f32) {
            write_as<float>(t.name, i);
        } else if (plans_[i].plain == qnt::scalar_type::f16) {
            write_as<qnt::f16>(t.name, i);
        } else {
            write_as<qnt::bf16>(t.name, i);
        }
    }
    template <class T> void write_as(const std::string& name, std::size_t i) {
        const std::vector<float> values = read(i);
        std::vector<T> narrow;
        narrow.reserve(values.size());
        for (std::size_t k = 0; k < values.size(); ++k) {
            narrow.push_back(T(values[k]));
            if (!qnt::is_finite(float(narrow[k])))
                throw std::runtime_error(job_.in.path + ": tensor " + qnt::in_quotes(name) + ": element " + std::to_string(k) +
                                         (qnt::is_finite(values[k]) ? std::string(" overflows ") + qnt::name_of(qnt::scalar_type_of<T>)
                                                                    : std::string(" is not a finite number")));
        }
        out_.write(name, std::span<const T>(narrow)).value();
    }

    // What a reader of the file gets.
    void measure_written(const qnt::safetensors_file& file, std::size_t i) {
        safetensors_plan& p = plans_[i];
        const std::vector<float> values = read(i);
        const std::vector<float> back =
            get(i, p.quantized ? qnt::read_bitsandbytes_f32(file, p.report.name, job_.executor) : file.read_f32(p.report.name));
        const std::size_t rows = p.report.shape[0], cols = p.report.shape[1];
        const auto decode = [&](std::size_t row, std::span<float> out) { std::copy_n(back.data() + row * cols, cols, out.data()); };
        p.report.errors = measure(values, rows, cols, decode, job_.executor);
    }

    const job& job_;
    std::vector<safetensors_plan> plans_;
    qnt::safetensors_writer out_;
    std::map<std::string, std::size_t> owner_;             // of each tensor of the file
    std::map<std::string, std::vector<std::byte>> parts_;  // of quantized matrices, all but their codes
};

inline std::vector<converted_tensor> to_safetensors(const job& j) {
    safetensors_conversion c(j);
    if (!j.is_plan) c.write();
    return c.reports();
}

}  // namespace tools
