#include "calibrate.hpp"

#include <cmath>
#include <stdexcept>

#include "tokenizer.hpp"

namespace gpt2 {

input_ranges calibrate(const model& m, std::span<const std::int32_t> ids, qnt::executor_ref executor) {
    input_ranges ranges;
    std::map<const std::byte*, std::vector<float>*> of_weights;
    const auto add = [&](const weights& w, const std::string& name) {
        of_weights[w.data] = &(ranges[name + ".weight"] = std::vector<float>(w.shape.cols));
    };
    for (std::size_t i = 0; i < m.config().n_layer; ++i) {
        const layer& l = m.layers()[i];
        const std::string h = "h." + std::to_string(i) + ".";
        add(l.c_attn.weight, h + "attn.c_attn");
        add(l.attn_c_proj.weight, h + "attn.c_proj");
        add(l.c_fc.weight, h + "mlp.c_fc");
        add(l.mlp_c_proj.weight, h + "mlp.c_proj");
    }
    add(m.wte(), "wte");  // stays zeros where it is only looked up
    if (m.head().data != m.wte().data) add(m.head(), "lm_head");

    forward_pass pass(m, executor);
    pass.observe([&](const weights& w, const qnt::matrix_view<const float>& x) {
        std::vector<float>& top = *of_weights.at(w.data);
        for (std::size_t r = 0; r < x.rows; ++r)
            for (std::size_t k = 0; k < x.cols; ++k) {
                const float v = std::fabs(x(r, k));
                if (!(v <= top[k])) top[k] = v;
            }
    });
    if (ids.empty()) throw std::runtime_error("no tokens to calibrate with");
    qnt::kv_cache cache = pass.new_cache({});
    const std::size_t window = m.config().n_ctx;
    for (std::size_t n = 0; n < calibration_windows && n * window < ids.size(); ++n) {
        cache.clear();
        const auto part = ids.subspan(n * window, std::min(window, ids.size() - n * window));
        const sequence_rows rows{part, &cache, part.size()};
        pass({&rows, 1});
    }
    for (const auto& [name, top] : ranges)
        for (std::size_t k = 0; k < top.size(); ++k)
            if (!qnt::is_finite(top[k]))
                throw std::runtime_error("calibration: input " + std::to_string(k) + " of " + name + " is not a finite number");
    return ranges;
}

input_ranges calibration_for(const qnt::policy& policy, const std::string& path, const std::string& file, qnt::executor_ref executor) {
    if (!policy.needs_calibration() || (file.empty() && path.ends_with(".qnt"))) return {};
    if (file.empty())
        throw std::runtime_error("outlier columns (llmint8, int4:32+outliers:6) are chosen by the inputs over a text: --calibrate FILE");
    const model m = load_model(path, {}, executor);
    return calibrate(m, tokenizer(path).encode(read_text(file)), executor);
}

}  // namespace gpt2
