// Causal attention of new rows over a kv_cache (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).
//
// Normative, in f32, for the row at position p in each head of d numbers, over the positions j = 0..p:
//     s_j = (q . k_j) * (1 / sqrt(d))        dot: 16 chains of fma, element i in chain i mod 16, ascending from +0, and the tree of
//                                            layer_norm.hpp; square root and quotient IEEE
//     w_j = e^(s_j - max s), sum of w_j      as softmax.hpp sums
//     out = (sum of w_j v_j) / sum of w_j    one chain of fma per number, j ascending from +0; an IEEE division at the end
// All scores are known before the first weight: there is no running maximum whose steps depend on blocks. So a position has the same bits
// whether it is computed alone, in a chunk or in one prompt, on any number of threads.
#pragma once
#include <cmath>
#include <string>

#include "../core/scratch.hpp"
#include "kv_cache.hpp"
#include "rows.hpp"

namespace qnt {
inline namespace QNT_BASELINE {

// out[T, heads * d] for q[T, heads * d] at the positions first_position..first_position + T - 1, which the layer must hold already. Rows
// may be parts of wider ones (a fused q, k, v); out may be q. The work is spread over heads and runs of four rows.
inline void attention(const matrix_view<float>& out, const matrix_view<const float>& q, const kv_cache& cache, std::size_t layer,
                      std::size_t first_position, executor_ref executor = {}) {
    const std::size_t d = cache.head_dim(), seen = first_position + q.rows;
    if (q.cols != cache.heads() * d || out.rows != q.rows || out.cols != q.cols || q.col_stride != 1 || out.col_stride != 1)
        detail::contract_violation("qnt::attention: out[" + std::to_string(out.rows) + ", " + std::to_string(out.cols) + "] and q[" +
                                   std::to_string(q.rows) + ", " + std::to_string(q.cols) + "] must both be [positions, " +
                                   std::to_string(cache.heads()) + " * " + std::to_string(d) + "], with dense rows");
    if (seen > cache.length(layer) || seen < first_position)
        detail::contract_violation("qnt::attention: " + std::to_string(q.rows) + " rows from position " + std::to_string(first_position) +
                                   " on, but layer " + std::to_string(layer) + " holds " + std::to_string(cache.length(layer)) + " positions");
    if (q.rows == 0) return;
    const fp_env env;
    kernels::attention_args args{};
    args.q = q.data;
    args.q_stride = q.row_stride;
    args.out = out.data;
    args.out_stride = out.row_stride;
    args.keys = reinterpret_cast<const float*>(cache.keys(layer, 0));
    args.keys_stride = cache.keys_per_head();
    args.values = reinterpret_cast<const float*>(cache.values(layer, 0));
    args.values_stride = cache.values_per_head();
    args.values_row = cache.value_row();
    args.tokens = q.rows;
    args.head_dim = d;
    args.first_position = first_position;
    args.scale = 1.0f / std::sqrt(float(d));
    args.scores_stride = round_up(seen, kv_cache::block);
    const auto kernel = kernels::attention[std::size_t(isa::active())];
    const std::size_t rows = q.rows < kernels::attention_rows ? q.rows : kernels::attention_rows;
    detail::spread(executor, cache.heads() * ceil_div(q.rows, kernels::attention_rows), 2 * rows * seen * d, [&](std::size_t begin, std::size_t end) {
        detail::scratch scores(rows * args.scores_stride);
        kernel(args, scores.data(), begin, end);
    });
}

}  // namespace QNT_BASELINE
}  // namespace qnt
