// activations: rows of x quantized to int8, ready for the integer dot products. One object serves all matrices whose groups agree
// (q, k and v of an attention block).
//
// Segments. Each weight group of g columns is cut into runs of at most 128 columns (one scale for all of K counts as one group);
// a segment never spans two groups. Its scale is
//     one scale for all of K:  scale[s] = absmax(s) / 127                              code = rne(x * (127 / absmax(s)))
//     grouped weights:         scale[s] = row_scale * 2^-e[s], row_scale = absmax(row) / 127,
//                              e[s] = the largest e in [0, 24] with absmax(s) * 2^e <= absmax(row)
//                                                                          code = rne(x * ((127 / absmax(row)) * 2^e[s]))
// with codes in [-127, 127] by construction. The power of two is free in a kernel: an int32 accumulator that starts at the bits of
// the float magic = 1.5 * 2^23 * 2^-e is, read as a float, magic + dot * 2^-e, for |dot| < 2^22 (128 * 127 * 255 fits).
// What lies below 2^-96 (the absmax of a segment, or of a row of grouped weights) counts as zeros; a segment (or row) with a NaN or an
// infinity gets the scale NaN, and so do its outputs.
// Why these forms: docs/decisions/001-activation-groups.md.
#pragma once
#include "core/aligned_buffer.hpp"
#include "packed/layout.hpp"

namespace qnt {

inline constexpr std::size_t segment_columns = 128;

// How K is cut: the weight group (0: all of K) and K itself.
struct segmentation {
    std::size_t cols = 0;
    std::size_t group = 0;

    constexpr std::size_t group_size() const { return group && group < cols ? group : cols; }
    constexpr std::size_t per_group() const { return ceil_div(group_size(), segment_columns); }
    constexpr std::size_t count() const {
        if (cols == 0) return 0;
        const std::size_t whole = (cols - 1) / group_size();
        return whole * per_group() + ceil_div(cols - whole * group_size(), segment_columns);
    }
    constexpr std::size_t begin(std::size_t s) const { return s / per_group() * group_size() + s % per_group() * segment_columns; }
    constexpr std::size_t length(std::size_t s) const {
        const std::size_t first = begin(s), group_end = (s / per_group() + 1) * group_size(), end = group_end < cols ? group_end : cols;
        return end - first < segment_columns ? end - first : segment_columns;
    }
    // Power-of-two scales under a row scale (grouped weights), or a scale of its own for each segment?
    constexpr bool is_grouped() const { return group != 0; }
    // Do two segmentations make the same activations? (int4:128 and uint4:256 do.)
    friend constexpr bool operator==(const segmentation& a, const segmentation& b) {
        return a.cols == b.cols && a.is_grouped() == b.is_grouped() && a.step() == b.step();
    }

private:
    constexpr std::size_t step() const { return group_size() % segment_columns == 0 || group_size() == cols ? segment_columns : group_size(); }
};

class activations {
public:
    activations() = default;
    std::size_t rows() const { return rows_; }
    std::size_t cols() const { return cut_.cols; }
    const segmentation& cut() const { return cut_; }

    std::int8_t* codes(std::size_t row) { return reinterpret_cast<std::int8_t*>(bytes_.data()) + row * codes_stride_; }
    // [segments, rows], so that the rows of a tile have theirs side by side: magic (grouped), or the segment's scale.
    float* factors() { return reinterpret_cast<float*>(bytes_.data() + factors_at_); }
    std::int32_t* minus_sums() { return reinterpret_cast<std::int32_t*>(bytes_.data() + sums_at_); }
    // Per row: the row scale (grouped), or 1.
    float* row_scales() { return reinterpret_cast<float*>(bytes_.data() + scales_at_); }
    const std::int8_t* codes(std::size_t row) const { return const_cast<activations*>(this)->codes(row); }
    const float* factors() const { return const_cast<activations*>(this)->factors(); }
    const std::int32_t* minus_sums() const { return const_cast<activations*>(this)->minus_sums(); }
    const float* row_scales() const { return const_cast<activations*>(this)->row_scales(); }
    // Bytes from row to row: K rounded up to whole lines, an odd number of them, so that the rows of a tile do not meet in one cache set.
    std::size_t codes_stride() const { return codes_stride_; }
    std::size_t segments() const { return segments_; }
    float scale(std::size_t row, std::size_t segment) const {
        const float factor = factors()[segment * rows_ + row];
        return cut_.is_grouped() ? row_scales()[row] * (factor / 0x1.8p23f) : factor;
    }

    // Takes on a shape; the buffer grows when it must and is kept otherwise.
    QNT_INLINE void reshape(std::size_t rows, segmentation cut) {
        rows_ = rows;
        cut_ = cut;
        segments_ = cut.count();
        codes_stride_ = (round_up(cut.cols, line_bytes) / line_bytes | 1) * line_bytes;
        factors_at_ = rows * codes_stride_;
        sums_at_ = round_up(factors_at_ + rows * segments_ * sizeof(float), line_bytes);
        scales_at_ = round_up(sums_at_ + rows * segments_ * sizeof(float), line_bytes);
        const std::size_t bytes = scales_at_ + rows * sizeof(float);
        if (bytes > bytes_.size()) {
            auto grown = aligned_buffer::allocate(bytes + bytes / 2);
            if (!grown) detail::out_of_memory();
            bytes_ = std::move(*grown);
        }
    }

private:
    aligned_buffer bytes_;
    std::size_t rows_ = 0, segments_ = 0, codes_stride_ = 0, factors_at_ = 0, sums_at_ = 0, scales_at_ = 0;
    segmentation cut_;
};

}  // namespace qnt
