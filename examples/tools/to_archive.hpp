// A checkpoint into a .qnt.
#pragma once
#include "job.hpp"

namespace tools {

// What else goes into the archive.
inline text_pairs metadata_of(const job& j) {
    text_pairs texts = provenance_of(j);
    if (j.in.gpt2) texts.emplace_back("config.json", gpt2::to_json(*j.in.gpt2));
    if (j.in.tokenizer)
        for (auto& text : gpt2::tokenizer_texts(*j.in.tokenizer)) texts.push_back(std::move(text));
    return texts;
}

inline std::vector<converted_tensor> to_archive(const job& j) {
    const qnt::policy policy = j.policy.as_policy();
    steps work(j);
    qnt::quantize_model_options options{.strict = j.is_strict, .metadata = metadata_of(j)};
    options.progress = [&](std::size_t done, std::size_t, const std::string&) { return work.before(done); };
    const auto report = j.is_plan ? qnt::plan_model(j.in.tensors, policy) : qnt::quantize_model(j.in.tensors, policy, j.out, options, j.executor);
    if (!report && report.error().code == qnt::errc::cancelled) throw interruption();
    std::vector<converted_tensor> tensors;
    for (std::size_t i = 0; i < report.value().tensors.size(); ++i) {
        const qnt::tensor_report& r = report->tensors[i];
        const qnt::checkpoint_tensor& t = j.in.tensors[i];
        std::size_t bytes = r.report.bytes;
        if (!r.kept) bytes = qnt::streamed_bytes(r.format.info, r.format.shape(r.shape[0], r.shape[1]), r.report.outliers);
        if (r.transform == qnt::input_transform::permutation) bytes += r.shape[1] * sizeof(std::uint32_t);
        converted_tensor c{r.name, r.shape, t.stored_as, r.format.name(), source::elements_of(t), bytes, r.report.bytes};
        c.is_kept = r.kept;
        c.is_lossless = r.lossless;
        c.outliers = r.report.outliers;
        if (!j.is_plan && !r.kept) c.errors = r.report;
        tensors.push_back(std::move(c));
    }
    return tensors;
}

}  // namespace tools
