#include "result.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include <qnt/metrics/logits.hpp>

namespace eval {

namespace {

json number(double x) { return std::isfinite(x) ? json(x) : json(nullptr); }

double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v.empty() ? std::nan("") : (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}
double mean(const std::vector<double>& v) {
    double sum = 0;
    for (const double x : v) sum += x;
    return sum / double(v.size());
}

// exp(mean change of nll) is the ratio of both perplexities; its error by the delta method, over changes token by token.
json perplexity_of(const text_part& part) {
    const window_sums all = part.total();
    const qnt::perplexity_sum ppl(all.nll), reference(all.reference_nll);
    const double ratio = std::exp(all.nll_change.mean());
    return {{"scored_tokens", all.nll.count},
            {"windows", part.windows.size()},
            {"nll", number(ppl.mean_nll())},
            {"ppl", number(ppl.ppl())},
            {"standard_error", number(ppl.standard_error())},
            {"bits_per_byte", number(all.nll.sum / std::log(2.0) / double(all.bytes))},
            {"reference_ppl", number(reference.ppl())},
            {"paired_standard_error", number(ppl.ppl() * all.nll_change.standard_error())},
            {"change_percent", number(100 * (ratio - 1))},
            {"change_standard_error", number(100 * ratio * all.nll_change.standard_error())}};
}

// 4 bins an octave, for pictures: [low, high, count], empty ones at the ends left out.
json histogram_of(const qnt::log_histogram& h) {
    constexpr std::size_t together = std::size_t{1} << (qnt::log_histogram::bits - 2);
    std::vector<json> bins;
    if (h.count(0) > 0) bins.push_back({0.0, qnt::log_histogram::lower_edge(1), h.count(0)});
    bool begun = false;
    std::size_t last = bins.size();
    for (std::size_t b = 1; b < h.bins_used(); b += together) {
        std::uint64_t n = 0;
        for (std::size_t i = b; i < b + together; ++i) n += h.count(i);
        begun = begun || n > 0;
        if (!begun) continue;
        const bool is_last = b + together >= qnt::log_histogram::bins;
        bins.push_back({qnt::log_histogram::lower_edge(b), is_last ? h.max() : qnt::log_histogram::lower_edge(b + together), n});
        if (n > 0) last = bins.size();
    }
    bins.resize(last);
    return bins;
}

json quantiles_of(const qnt::log_histogram& h) {
    return {{"median", number(h.quantile(0.5))},
            {"p90", number(h.quantile(0.9))},
            {"p99", number(h.quantile(0.99))},
            {"p99_9", number(h.quantile(0.999))},
            {"max", h.max()}};
}

json worst_of(const std::vector<worst_token>& worst) {
    json list = json::array();
    for (const worst_token& w : worst) list.push_back(to_json(w));
    return list;
}

json share(std::size_t n, std::size_t of) {
    const double p = double(n) / double(of);
    return {{"share", number(p)}, {"standard_error", number(std::sqrt(p * (1 - p) / double(of)))}};
}

json divergence_of(const text_part& part) {
    const window_sums all = part.total();
    json kl{{"mean", number(all.kl.mean())}, {"standard_error", number(all.kl.standard_error())}};
    kl.update(quantiles_of(part.kl));
    json change{{"mean", number(all.probability_change.mean())},
                {"standard_error", number(all.probability_change.standard_error())},
                {"rms", number(all.probability_change.rms())}};
    const json quantiles = quantiles_of(part.probability_change);
    for (const auto& [name, value] : quantiles.items()) change["abs_" + name] = value;
    return {{"tokens", all.kl.count},
            {"kl", kl},
            {"top1_agreement", share(all.same_top, all.kl.count)},
            {"top5_overlap", number(double(all.shared_top5) / (5.0 * double(all.kl.count)))},
            {"probability_change", change},
            {"kl_histogram", histogram_of(part.kl)},
            {"worst_tokens", worst_of(part.worst)}};
}

json summary_of(const std::vector<const prompt_result*>& prompts) {
    std::vector<double> kl, similarity, jaccard, common;
    std::size_t identical = 0;
    for (const prompt_result* r : prompts) {
        if (r->kl.count > 0) kl.push_back(r->kl.mean());
        similarity.push_back(r->character_similarity);
        jaccard.push_back(r->token_jaccard);
        common.push_back(double(r->common_tokens));
        identical += r->identical;
    }
    json range = nullptr;
    if (!kl.empty())
        range = {{"mean", number(mean(kl))},
                 {"median", number(median(kl))},
                 {"min", number(*std::min_element(kl.begin(), kl.end()))},
                 {"max", number(*std::max_element(kl.begin(), kl.end()))}};
    return {{"prompts", prompts.size()},
            {"kl", range},
            {"character_similarity", number(mean(similarity))},
            {"token_jaccard", number(mean(jaccard))},
            {"common_tokens", number(mean(common))},
            {"identical", number(double(identical) / double(prompts.size()))}};
}

json prompts_of(const std::vector<prompt_result>& prompts) {
    if (prompts.empty()) return nullptr;
    std::vector<const prompt_result*> all;
    std::vector<std::string> order;  // of categories, as they come
    std::map<std::string, std::vector<const prompt_result*>> categories;
    for (const prompt_result& r : prompts) {
        all.push_back(&r);
        if (categories[r.category].empty()) order.push_back(r.category);
        categories[r.category].push_back(&r);
    }
    json j = summary_of(all);
    j["categories"] = json::array();
    for (const std::string& name : order) {
        json one{{"category", name}};
        one.update(summary_of(categories[name]));
        j["categories"].push_back(one);
    }
    j["results"] = json::array();
    for (const prompt_result& r : prompts)
        j["results"].push_back({{"id", r.id},
                                {"category", r.category},
                                {"kl", number(r.kl.mean())},
                                {"max_kl", r.max_kl},
                                {"top1_agreement", number(double(r.same_top) / double(r.kl.count))},
                                {"character_similarity", r.character_similarity},
                                {"token_jaccard", r.token_jaccard},
                                {"common_tokens", r.common_tokens},
                                {"tokens", r.tokens},
                                {"identical", r.identical},
                                {"prompt", r.prompt},
                                {"reference_text", r.reference_text},
                                {"text", r.text}});
    return j;
}

json size_of(const size_facts& f) {
    const double f32_bytes = 4.0 * double(f.parameters);
    return {{"parameters", f.parameters},
            {"bytes", f.bytes},
            {"f32_bytes", std::size_t(f32_bytes)},
            {"effective_bits", 8.0 * double(f.bytes) / double(f.parameters)},
            {"compression", f32_bytes / double(f.bytes)},
            {"outlier_share", f.outlier_share},
            {"matrices", f.matrices}};
}

}  // namespace

json identity_of(const plan& p, const configuration& c) {
    json j;
    j["schema"] = "qnt-eval/1";
    j["fingerprint"] = p.fingerprint_of(c);
    j["name"] = c.name;
    j["model"] = p.facts_of(c).description;
    j["format"] = c.format;
    j["weights"] = json::parse(c.weights.to_json());
    j["calibration"] = p.calibration_of(c);
    j["kv"] = c.kv.name;
    j["is_reference"] = c.is_reference;
    j["protocol"] = p.protocol_of(c);
    return j;
}

json result_of(const plan& p, const configuration& c, const quality& q, const json& cost) { return result_of(identity_of(p, c), q, cost); }

json result_of(const json& identity, const quality& q, const json& cost) {
    json j = identity;
    j["size"] = size_of(q.size);
    j["perplexity"] = {{"nonoverlap", perplexity_of(q.nonoverlap)}, {"stride", perplexity_of(q.stride)}};
    j["divergence"] = divergence_of(q.nonoverlap);
    j["prompts"] = prompts_of(q.prompts);
    j["cost"] = cost;
    return j;
}

}  // namespace eval
