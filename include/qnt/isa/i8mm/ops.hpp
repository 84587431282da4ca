// NEON with the 8-bit matrix product (Armv8.6-A i8mm): smmla multiplies 2 rows of activations by 2 of weights, 8 columns at a time. Few
// rows go the way of dotprod.
#pragma once
#include "../dotprod/ops.hpp"

#if defined(__aarch64__)
#define QNT_UNROLL QNT_UNROLL_FULLY
QNT_REGION_BEGIN(QNT_TARGET_I8MM)
namespace qnt::isa::inline QNT_BASELINE::i8mm {

struct ops : dotprod::ops {
    // Products of 16 rows of x with the signed operands of a segment: see amx_int8/ops.hpp. Two lines of a panel, 8 columns of 16 rows, are
    // zipped into 8 pairs of rows, each a register, once for all rows of x.
    class tiles {
    public:
        QNT_INLINE void shape(std::size_t lines) { lines_ = lines; }
        QNT_INLINE void operands(const std::uint8_t* lines) {
            for (std::size_t i = 0; i < lines_; i += 2)
                QNT_EACH (part, parts) {
                    const int32x4_t even = four_rows(lines + i * 64, part), odd = i + 1 < lines_ ? four_rows(lines + (i + 1) * 64, part) : set1_i(0);
                    std::int8_t* const pair = pairs_ + i * 64 + part * 32;
                    vst1q_s8(pair, vreinterpretq_s8_s32(vzip1q_s32(even, odd)));
                    vst1q_s8(pair + 16, vreinterpretq_s8_s32(vzip2q_s32(even, odd)));
                }
        }
        // A last odd line is multiplied with 4 columns more, whose operands are 0: rows of x are longer than K.
        template <bool, bool> QNT_INLINE void multiply(std::int32_t* sums, const std::int8_t* x, std::size_t stride) const {
            for (std::size_t row = 0; row < 16; row += 8)
                for (std::size_t column = 0; column < 16; column += 8)
                    multiply_8x8(sums + row * 16 + column, x + row * stride, stride, pairs_ + column * 8);
        }

    private:
        static QNT_INLINE int32x4_t four_rows(const std::uint8_t* line, int part) { return vreinterpretq_s32_s8(load_bytes(line + part * 16)); }
        // Written out, as sdot is: sum[i][j] of 2 x 2 += row i of x times row j of w.
        static QNT_INLINE void add_products(int32x4_t& sum, int8x16_t x, int8x16_t w) {
            asm("smmla %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(x), "w"(w));
        }
        QNT_INLINE void multiply_8x8(std::int32_t* sums, const std::int8_t* x, std::size_t stride, const std::int8_t* w) const {
            int32x4_t sum[4][4];
            QNT_EACH (i, 4)
                QNT_EACH (j, 4) sum[i][j] = set1_i(0);
            for (std::size_t line = 0; line < lines_; line += 2, x += 8, w += 128) {
                int8x16_t pair[4];
                QNT_EACH (j, 4) pair[j] = vld1q_s8(w + j * 16);
                QNT_EACH (i, 4) {
                    const std::int8_t* const two = x + std::size_t(2 * i) * stride;
                    const int8x16_t rows = vcombine_s8(vld1_s8(two), vld1_s8(two + stride));
                    QNT_EACH (j, 4) add_products(sum[i][j], rows, pair[j]);
                }
            }
            QNT_EACH (i, 4)
                QNT_EACH (j, 2) {
                    const int64x2_t left = vreinterpretq_s64_s32(sum[i][2 * j]), right = vreinterpretq_s64_s32(sum[i][2 * j + 1]);
                    vst1q_s32(sums + 2 * i * 16 + j * 4, vreinterpretq_s32_s64(vzip1q_s64(left, right)));
                    vst1q_s32(sums + (2 * i + 1) * 16 + j * 4, vreinterpretq_s32_s64(vzip2q_s64(left, right)));
                }
        }

        std::size_t lines_ = 0;
        alignas(64) std::int8_t pairs_[32 * 64];
    };
};

}  // namespace qnt::isa::inline QNT_BASELINE::i8mm
QNT_REGION_END
#undef QNT_UNROLL
#endif
