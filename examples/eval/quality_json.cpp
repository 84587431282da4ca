// Shards as JSON, and the sum of shards.
#include <algorithm>
#include <stdexcept>

#include "quality.hpp"

namespace eval {

void window_sums::merge(const window_sums& other) {
    bytes += other.bytes;
    nll.merge(other.nll);
    reference_nll.merge(other.reference_nll);
    nll_change.merge(other.nll_change);
    kl.merge(other.kl);
    probability_change.merge(other.probability_change);
    same_top += other.same_top;
    shared_top5 += other.shared_top5;
}

window_sums text_part::total() const {
    window_sums all;
    for (const window_sums& w : windows) all.merge(w);
    return all;
}

void text_part::merge(const text_part& next) {
    windows.insert(windows.end(), next.windows.begin(), next.windows.end());
    kl.merge(next.kl);
    probability_change.merge(next.probability_change);
    worst.insert(worst.end(), next.worst.begin(), next.worst.end());
    std::sort(worst.begin(), worst.end());
    if (worst.size() > worst_kept) worst.resize(worst_kept);
}

void quality::merge(const quality& next) {
    nonoverlap.merge(next.nonoverlap);
    stride.merge(next.stride);
    prompts.insert(prompts.end(), next.prompts.begin(), next.prompts.end());
}

json to_json(const worst_token& w) {
    return {{"kl", w.kl},
            {"position", w.position},
            {"before", w.before},
            {"token", w.token},
            {"probability", w.probability},
            {"reference_probability", w.reference_probability},
            {"guess", w.guess},
            {"reference_guess", w.reference_guess}};
}

namespace {

json of(const qnt::moments& m) { return {m.count, m.sum, m.sum_of_squares}; }
qnt::moments moments_of(const json& j) { return {j.at(0).get<std::size_t>(), j.at(1).get<double>(), j.at(2).get<double>()}; }

json of(const qnt::log_histogram& h) {
    json counts = json::array();
    for (std::size_t b = 0; b < h.bins_used(); ++b)
        if (h.count(b) > 0) counts.push_back({b, h.count(b)});
    return {{"max", h.max()}, {"counts", counts}};
}
qnt::log_histogram histogram_of(const json& j) {
    qnt::log_histogram h;
    for (const json& bin : j.at("counts")) {
        const auto at = bin.at(0).get<std::size_t>();
        if (at >= qnt::log_histogram::bins) throw std::runtime_error("there is no bin " + std::to_string(at));
        h.add(at, bin.at(1).get<std::uint64_t>());
    }
    h.note_max(j.at("max").get<double>());
    return h;
}

json of(const window_sums& w) {
    return {w.bytes, of(w.nll), of(w.reference_nll), of(w.nll_change), of(w.kl), of(w.probability_change), w.same_top, w.shared_top5};
}
window_sums window_of(const json& j) {
    return {j.at(0).get<std::size_t>(), moments_of(j.at(1)), moments_of(j.at(2)),        moments_of(j.at(3)),
            moments_of(j.at(4)),        moments_of(j.at(5)), j.at(6).get<std::size_t>(), j.at(7).get<std::size_t>()};
}

worst_token worst_of(const json& j) {
    return {j.at("kl"),     j.at("position"), j.at("probability"), j.at("reference_probability"),
            j.at("before"), j.at("token"),    j.at("guess"),       j.at("reference_guess")};
}

json of(const text_part& p) {
    json windows = json::array(), worst = json::array();
    for (const window_sums& w : p.windows) windows.push_back(of(w));
    for (const worst_token& w : p.worst) worst.push_back(to_json(w));
    return {{"windows", windows}, {"kl", of(p.kl)}, {"probability_change", of(p.probability_change)}, {"worst", worst}};
}
text_part part_of(const json& j) {
    text_part p;
    for (const json& w : j.at("windows")) p.windows.push_back(window_of(w));
    for (const json& w : j.at("worst")) p.worst.push_back(worst_of(w));
    p.kl = histogram_of(j.at("kl"));
    p.probability_change = histogram_of(j.at("probability_change"));
    return p;
}

json of(const prompt_result& r) {
    return {{"id", r.id},
            {"category", r.category},
            {"prompt", r.prompt},
            {"text", r.text},
            {"reference_text", r.reference_text},
            {"kl", of(r.kl)},
            {"max_kl", r.max_kl},
            {"same_top", r.same_top},
            {"tokens", r.tokens},
            {"common_tokens", r.common_tokens},
            {"character_similarity", r.character_similarity},
            {"token_jaccard", r.token_jaccard},
            {"identical", r.identical}};
}
prompt_result prompt_of(const json& j) {
    return {j.at("id"),       j.at("category"), j.at("prompt"), j.at("text"),          j.at("reference_text"),       moments_of(j.at("kl")),
            j.at("max_kl"),   j.at("same_top"), j.at("tokens"), j.at("common_tokens"), j.at("character_similarity"), j.at("token_jaccard"),
            j.at("identical")};
}

}  // namespace

json to_json(const quality& q) {
    json prompts = json::array();
    for (const prompt_result& r : q.prompts) prompts.push_back(of(r));
    return {{"parameters", q.size.parameters},
            {"bytes", q.size.bytes},
            {"outlier_share", q.size.outlier_share},
            {"matrices", q.size.matrices},
            {"nonoverlap", of(q.nonoverlap)},
            {"stride", of(q.stride)},
            {"prompts", prompts}};
}

quality quality_of(const json& j) {
    quality q;
    q.size = {j.at("parameters"), j.at("bytes"), j.at("outlier_share"), j.at("matrices")};
    q.nonoverlap = part_of(j.at("nonoverlap"));
    q.stride = part_of(j.at("stride"));
    for (const json& r : j.at("prompts")) q.prompts.push_back(prompt_of(r));
    return q;
}

}  // namespace eval
