// Causal attention of new rows over a kv_cache (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).
//
// Normative, in f32, for the row at position p in each head of d numbers, over the positions j = 0..p. k_j and v_j are the stored
// numbers as f32 (of int8 the codes), kscale_j and vscale_j the scales of int8:
//     s_j = (q . k_j) [* kscale_j] * (1 / sqrt(d))    dot: 16 chains of fma, element i in chain i mod 16, ascending from +0, and the tree
//                                                     of layer_norm.hpp; products from left to right; square root and quotient IEEE
//     w_j = e^(s_j - max s), sum of w_j               as softmax.hpp sums
//     out = (sum of (w_j [* vscale_j]) v_j) / sum of w_j    one chain of fma per number, j ascending from +0; an IEEE division at the end
// All scores are known before the first weight: there is no running maximum whose steps depend on blocks. So a position has the same bits
// whether it is computed alone, in a chunk or in one prompt, beside other sequences, on any number of threads.
#pragma once
#include <cmath>
#include <span>
#include <string>

#include "../core/scratch.hpp"
#include "kv_cache.hpp"
#include "rows.hpp"

namespace qnt {

// out[T, heads * d] for q[T, heads * d] at the positions first_position..first_position + T - 1, which the cache must hold already. Rows
// may be parts of wider ones (a fused q, k, v); out may be q.
struct attention_rows {
    matrix_view<float> out;
    matrix_view<const float> q;
    const kv_cache* cache;
    std::size_t first_position;
};

namespace detail {
inline namespace QNT_BASELINE {

inline void check_attention(const attention_rows& r, std::size_t layer) {
    const std::size_t d = r.cache->head_dim(), seen = r.first_position + r.q.rows;
    if (r.q.cols != r.cache->heads() * d || r.out.rows != r.q.rows || r.out.cols != r.q.cols || r.q.col_stride != 1 || r.out.col_stride != 1)
        contract_violation("qnt::attention: out[" + std::to_string(r.out.rows) + ", " + std::to_string(r.out.cols) + "] and q[" +
                           std::to_string(r.q.rows) + ", " + std::to_string(r.q.cols) + "] must both be [positions, " +
                           std::to_string(r.cache->heads()) + " * " + std::to_string(d) + "], with dense rows");
    if (seen > r.cache->length(layer) || seen < r.first_position)
        contract_violation("qnt::attention: " + std::to_string(r.q.rows) + " rows from position " + std::to_string(r.first_position) +
                           " on, but layer " + std::to_string(layer) + " holds " + std::to_string(r.cache->length(layer)) + " positions");
}

// Items [begin, end) of its heads and runs of rows.
inline void attention_items(const attention_rows& r, std::size_t layer, std::size_t begin, std::size_t end) {
    kernels::attention_args args{};
    args.q = r.q.data;
    args.q_stride = r.q.row_stride;
    args.out = r.out.data;
    args.out_stride = r.out.row_stride;
    args.kv = r.cache->view(layer);
    args.tokens = r.q.rows;
    args.first_position = r.first_position;
    args.scale = 1.0f / std::sqrt(float(r.cache->head_dim()));
    args.scores_stride = round_up(r.first_position + r.q.rows, 16);
    scratch scores((r.q.rows < kernels::attention_rows ? r.q.rows : kernels::attention_rows) * args.scores_stride);
    kernels::attention[std::size_t(isa::active())](args, scores.data(), begin, end);
}

}  // namespace QNT_BASELINE
}  // namespace detail

inline namespace QNT_BASELINE {

// Attention in one layer, for the rows of any number of sequences. The work is spread over sequences, heads and runs of four rows.
inline void attention(std::span<const attention_rows> sequences, std::size_t layer, executor_ref executor = {}) {
    const auto items_of = [](const attention_rows& r) { return r.cache->heads() * ceil_div(r.q.rows, kernels::attention_rows); };
    std::size_t items = 0, work = 0;
    for (const attention_rows& r : sequences) {
        detail::check_attention(r, layer);
        items += items_of(r);
        work += 2 * r.q.rows * r.q.cols * (r.first_position + r.q.rows);
    }
    if (items == 0) return;
    detail::spread(executor, items, ceil_div(work, items), [&](std::size_t begin, std::size_t end) {
        std::size_t first = 0;  // item of the sequence
        for (const attention_rows& r : sequences) {
            const std::size_t last = first + items_of(r), from = begin > first ? begin : first, to = end < last ? end : last;
            if (from < to) detail::attention_items(r, layer, from - first, to - first);
            first = last;
        }
    });
}
inline void attention(const matrix_view<float>& out, const matrix_view<const float>& q, const kv_cache& cache, std::size_t layer,
                      std::size_t first_position, executor_ref executor = {}) {
    const attention_rows rows{out, q, &cache, first_position};
    attention(std::span(&rows, 1), layer, executor);
}

}  // namespace QNT_BASELINE
}  // namespace qnt
