// AVX-512 VNNI with AMX: tdpbssd and tdpbsud multiply 16 rows of activations by a panel of signed or unsigned operands, 64 columns at a
// time. A panel line is a row of their second operand as it lies. Few rows go the way of avx512vnni.
#pragma once
#include "../avx512vnni/ops.hpp"

#if defined(__x86_64__)
QNT_REGION_BEGIN(QNT_TARGET_AMX_INT8)
namespace qnt::isa::inline QNT_BASELINE::amx_int8 {

struct ops : avx512vnni::ops {
    // Products of 16 rows of x with the operands of a segment, at most 128 columns in two steps. Tiles: 0 and 1 sums, 2 and 3 operands,
    // 4 to 7 activations; even and odd calls use registers of their own, so that one need not wait for the other.
    class tiles {
    public:
        tiles() = default;
        tiles(const tiles&) = delete;
        tiles& operator=(const tiles&) = delete;
        QNT_INLINE ~tiles() { _tile_release(); }

        // From here on segments have so many lines of 4 columns.
        QNT_INLINE void shape(std::size_t lines) {
            if (lines == lines_) return;
            lines_ = lines;
            const std::size_t steps[2] = {lines < 16 ? lines : 16, lines > 16 ? lines - 16 : 1};
            struct {
                std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
                std::uint16_t row_bytes[16] = {};
                std::uint8_t rows[16] = {};
            } c;
            static_assert(sizeof c == 64);
            for (int t = 0; t < 8; ++t) {
                const std::size_t step = steps[t % 2];
                c.row_bytes[t] = std::uint16_t(t < 4 ? 64 : 4 * step);
                c.rows[t] = std::uint8_t(t == 2 || t == 3 ? step : 16);
            }
            _tile_loadconfig(&c);
        }
        QNT_INLINE void operands(const std::uint8_t* lines) {
            _tile_loadd(2, lines, 64);
            if (lines_ > 16) _tile_loadd(3, lines + 1024, 64);
        }
        // sums[16][16] = x[16 rows, columns] * operands, which are signed or unsigned bytes
        template <bool Odd, bool Signed> QNT_INLINE void multiply(std::int32_t* sums, const std::int8_t* x, std::size_t stride) {
#define QNT_MULTIPLY(product, sum, first, second) /* tiles are numbers in the instruction: no parameters */ \
    _tile_zero(sum);                                                                                        \
    _tile_loadd(first, x, stride);                                                                          \
    product(sum, first, 2);                                                                                 \
    if (lines_ > 16) {                                                                                      \
        _tile_loadd(second, x + 64, stride);                                                                \
        product(sum, second, 3);                                                                            \
    }                                                                                                       \
    _tile_stored(sum, sums, 64)
            if constexpr (Odd && Signed) {
                QNT_MULTIPLY(_tile_dpbssd, 1, 6, 7);
            } else if constexpr (Odd) {
                QNT_MULTIPLY(_tile_dpbsud, 1, 6, 7);
            } else if constexpr (Signed) {
                QNT_MULTIPLY(_tile_dpbssd, 0, 4, 5);
            } else {
                QNT_MULTIPLY(_tile_dpbsud, 0, 4, 5);
            }
#undef QNT_MULTIPLY
        }

    private:
        std::size_t lines_ = 0;
    };
};

}  // namespace qnt::isa::inline QNT_BASELINE::amx_int8
QNT_REGION_END
#endif
