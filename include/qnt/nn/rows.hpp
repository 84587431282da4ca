// How the steps in nn/ spread rows over threads.
#pragma once
#include "../core/executor.hpp"
#include "../core/fp_env.hpp"
#include "../core/matrix_view.hpp"
#include "../kernels/nn_table.hpp"

namespace qnt::detail {
inline namespace QNT_BASELINE {

// f(begin, end) over n items of `work` multiplications each: on this thread where there is less work than waking another takes.
template <class F> void spread(executor_ref executor, std::size_t n, std::size_t work, const F& f) {
    const auto some = [&](std::size_t begin, std::size_t end) {
        const fp_env env;
        f(begin, end);
    };
    if (n * work >= 65536) executor.parallel_for(n, 1, some);
    else if (n > 0) some(0, n);
}

}  // namespace QNT_BASELINE
}  // namespace qnt::detail
