#include "load.hpp"

#include <cstring>

#include "gguf.hpp"

namespace gpt2 {

config config_of(const qnt::checkpoint_file& file) {
    if (const auto& archive = file.as_archive()) {
        const std::string* text = metadata_of(*archive, "config.json");
        if (!text) refuse(file.path(), "there is no \"config.json\" in its metadata");
        return parse_config(*text, file.path() + ": config.json");
    }
    if (const auto& gguf = file.as_gguf()) return config_of(*gguf, file.path());
    return read_config(beside(file, "config.json"));
}

std::vector<expected_tensor> tensors_of(const config& c) {
    const std::size_t d = c.n_embd;
    std::vector<expected_tensor> parts{{"wte.weight", {c.vocab_size, d}, "[vocab_size, n_embd]"},
                                       {"wpe.weight", {c.n_ctx, d}, "[n_positions, n_embd]", false, true}};
    const auto norm = [&](const std::string& name) {
        for (const char* end : {".weight", ".bias"}) parts.push_back({name + end, {d}, "[n_embd]", false, true});
    };
    const auto conv1d = [&](const std::string& name, std::size_t out, const char* out_text, std::size_t in, const char* text) {
        parts.push_back({name + ".weight", {out, in}, text, true});
        parts.push_back({name + ".bias", {out}, out_text, false, true});
    };
    for (std::size_t i = 0; i < c.n_layer; ++i) {
        const std::string h = "h." + std::to_string(i) + ".";
        norm(h + "ln_1");
        conv1d(h + "attn.c_attn", 3 * d, "[3 n_embd]", d, "[3 n_embd, n_embd]");
        conv1d(h + "attn.c_proj", d, "[n_embd]", d, "[n_embd, n_embd]");
        norm(h + "ln_2");
        conv1d(h + "mlp.c_fc", c.n_inner, "[n_inner]", d, "[n_inner, n_embd]");
        conv1d(h + "mlp.c_proj", d, "[n_embd]", c.n_inner, "[n_embd, n_inner]");
    }
    norm("ln_f");
    return parts;
}

namespace {

// The tensors of a file under the names of tensors_of().
class tensor_names {
public:
    explicit tensor_names(const qnt::checkpoint_file& file)
        : file_(&file), is_gguf_(file.as_gguf() != nullptr), prefix_(file.find("transformer.wte.weight") ? "transformer." : "") {}

    std::string operator()(const std::string& name) const { return is_gguf_ ? gguf_name(name) : name == "lm_head.weight" ? name : prefix_ + name; }
    const qnt::checkpoint_tensor* find(const std::string& name) const { return file_->find((*this)(name)); }

    // The block that a tensor of the file belongs to.
    std::optional<std::size_t> layer(std::string_view name) const {
        const std::string start = is_gguf_ ? "blk." : prefix_ + "h.";
        if (!name.starts_with(start)) return std::nullopt;
        name.remove_prefix(start.size());
        std::uint64_t n = 0;
        const std::size_t dot = name.find('.');
        return dot != name.npos && qnt::parse_number(name.substr(0, dot), n) ? std::optional<std::size_t>(n) : std::nullopt;
    }

private:
    const qnt::checkpoint_file* file_;
    bool is_gguf_;
    std::string prefix_;
};

// Does the matrix lie as a layer of PyTorch's Linear has it? Quantizers turn Conv1D into that.
bool is_conv1d_as_stored(const qnt::checkpoint_file& file, const qnt::checkpoint_tensor& t) {
    return file.as_safetensors() && (t.stored_as == "F32" || t.stored_as == "F16" || t.stored_as == "BF16");
}

qnt::checkpoint_tensor tensor_of(const qnt::checkpoint_file& file, const tensor_names& names, const expected_tensor& p) {
    const qnt::checkpoint_tensor* found = names.find(p.name);
    if (!found) refuse(file.path(), "there is no tensor " + qnt::in_quotes(names(p.name)));
    qnt::checkpoint_tensor t = *found;
    t.name = p.name;
    t.is_array = p.is_array;
    t.transposed = p.is_conv1d && is_conv1d_as_stored(file, *found);
    std::vector<std::size_t> shape = p.shape;
    if (t.transposed) std::swap(shape[0], shape[1]);
    if (t.shape != shape)
        refuse(file.path(), "tensor " + qnt::in_quotes(found->name) + " has shape " + qnt::detail::shape_text(t.shape) + ", the configuration says " +
                                qnt::detail::shape_text(shape) + ": " + p.shape_text + (t.transposed ? " transposed" : ""));
    return t;
}

// Is the head the embedding again? Who writes a .qnt has asked that already, and opening one reads no weights.
bool is_tied(const qnt::checkpoint_file& file, const qnt::checkpoint_tensor& head, const qnt::checkpoint_tensor& wte) {
    if (file.as_archive()) return false;
    std::vector<float> spaces[2];
    const std::span<const float> a = qnt::values_of(head, spaces[0]).value(), b = qnt::values_of(wte, spaces[1]).value();
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

qnt::checkpoint checkpoint_of(const qnt::checkpoint_file& file, const config& c) {
    const tensor_names names(file);
    qnt::checkpoint out;
    for (const expected_tensor& p : tensors_of(c)) out.push_back(tensor_of(file, names, p));
    for (const qnt::checkpoint_tensor& t : file.tensors())
        if (const auto n = names.layer(t.name); n && *n >= c.n_layer)
            refuse(file.path(), "tensor " + qnt::in_quotes(t.name) + " lies beyond the " + std::to_string(c.n_layer) + " layers of 'n_layer'");
    if (names.find("lm_head.weight")) {
        qnt::checkpoint_tensor head = tensor_of(file, names, {"lm_head.weight", {c.vocab_size, c.n_embd}, "[vocab_size, n_embd]"});
        if (!is_tied(file, head, out[0])) out.push_back(std::move(head));
    }
    return out;
}

void set_calibration(qnt::checkpoint& tensors, const input_ranges& calibration) {
    for (qnt::checkpoint_tensor& t : tensors)
        if (const auto found = calibration.find(t.name); found != calibration.end()) t.input_absmax = found->second;
}

// Reads a byte of every page: the first step reads all weights, and would wait for the pages of a mapped file one by one.
void touch(std::span<const std::byte> bytes) {
    constexpr std::size_t page = 4096;
    const auto* p = reinterpret_cast<const volatile unsigned char*>(bytes.data());
    for (std::size_t i = 0; i < bytes.size(); i += page) static_cast<void>(p[i]);
}

class model_builder {
public:
    model_builder(const load_options& options, qnt::executor_ref executor)
        : options_(options),
          is_asked_(!options.weights.rules().empty()),
          rules_(is_asked_ ? options.weights : options.unless_asked),
          executor_(executor) {}

    model build(const std::string& path) {
        const auto file = (options_.in_memory ? qnt::checkpoint_file::load(path) : qnt::checkpoint_file::open(path)).value();
        path_ = file.path();
        model& m = model_;
        m.config_ = config_of(file);
        m.mode_ = options_.mode;
        if ((archive_ = file.as_archive()) && options_.verify) archive_->verify(executor_).value();
        m.archive_ = archive_;

        qnt::checkpoint tensors = checkpoint_of(file, m.config_);
        set_calibration(tensors, options_.calibration);
        auto next = tensors.begin();
        const auto linear_next = [&] {
            const weights w = matrix(*next++);
            return linear{w, array(*next++)};
        };
        const auto norm_next = [&] {
            const auto gain = array(*next++);
            return norm{gain, array(*next++)};
        };
        m.wte_ = m.head_ = matrix(*next++);
        m.wpe_ = array(*next++);
        for (std::size_t i = 0; i < m.config_.n_layer; ++i) {
            layer l;
            l.ln_1 = norm_next();
            l.c_attn = linear_next();
            l.attn_c_proj = linear_next();
            l.ln_2 = norm_next();
            l.c_fc = linear_next();
            l.mlp_c_proj = linear_next();
            m.layers_.push_back(l);
        }
        m.ln_f_ = norm_next();
        if (next != tensors.end()) m.head_ = matrix(*next);
        return std::move(model_);
    }

private:
    template <class T> T value_of(const qnt::checkpoint_tensor& t, qnt::result<T> r) {
        if (!r) refuse(path_, "tensor " + qnt::in_quotes(t.name) + ": " + r.error().message);
        return std::move(*r);
    }

    // Of a .qnt; who asks for outliers may have got none, whoever does not ask shall not have any.
    void check_asked(const qnt::checkpoint_tensor& t) {
        const qnt::policy_rule wanted = value_of(t, rules_.rule_for(t.name));
        const bool has_outliers = t.packed_transform == qnt::input_transform::outliers;
        if (wanted.format == *t.packed_format && (wanted.outliers != 0 || !has_outliers)) return;
        value_of<int>(t, qnt::error{qnt::errc::unsupported, "is " + t.packed_format->name() + (has_outliers ? " with outlier columns" : "") +
                                                                ", asked for was " + wanted.format_name() +
                                                                "; a .qnt runs as it is, qnt-quantize converts it"});
    }

    weights matrix(const qnt::checkpoint_tensor& t) {
        tensor_report r;
        weights w;
        if (archive_ && t.read_packed) {
            w = archive_->get_any(t.name).value();
            if (is_asked_) check_asked(t);
            const std::size_t outliers = w.outliers.count();
            if (!options_.in_memory) touch({w.data, qnt::streamed_bytes(w.format, w.shape)});
            r = {t.name, t.shape, *t.packed_format, false, true, t.packed_transform, {}};
            r.report.cols = w.shape.cols;
            r.report.outliers = outliers;
            r.report.bytes = qnt::stored_bytes(w.format, w.shape, outliers);
            r.report.bits = qnt::bits_per_weight(w.format, w.shape, outliers);
        } else {
            model_.matrices_.push_back(value_of(t, qnt::quantize_tensor(t, rules_, r, executor_)));
            w = model_.matrices_.back().view();
        }
        r.name.resize(r.name.rfind(".weight"));
        model_.parameters_ += w.shape.rows * w.shape.cols;
        model_.bytes_ += r.report.bytes;
        model_.reports_.push_back(std::move(r));
        return w;
    }

    std::span<const float> array(const qnt::checkpoint_tensor& t) {
        std::span<const float> values;
        if (archive_ && t.stored_as == "f32" && !t.read_packed) {
            values = archive_->get_array<float>(t.name).value();
        } else {
            model_.arrays_.push_back(value_of(t, t.read()));
            values = model_.arrays_.back();
        }
        for (std::size_t i = 0; i < values.size(); ++i)
            if (!qnt::is_finite(values[i])) {
                const std::size_t cols = t.shape.back();
                value_of<int>(t,
                              qnt::error{qnt::errc::not_finite, (t.shape.size() == 2 ? "row " + std::to_string(i / cols) + ", column " : "element ") +
                                                                    std::to_string(i % cols) + " is not a finite number"});
            }
        model_.parameters_ += values.size();
        model_.bytes_ += values.size() * sizeof(float);
        return values;
    }

    const load_options& options_;
    bool is_asked_;
    const qnt::policy& rules_;
    qnt::executor_ref executor_;
    std::string path_;
    std::shared_ptr<const qnt::archive> archive_;
    model model_;
};

model load_model(const std::string& path, const load_options& options, qnt::executor_ref executor) {
    return model_builder(options, executor).build(path);
}

}  // namespace gpt2
