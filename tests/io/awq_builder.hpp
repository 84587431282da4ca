// Matrices of AWQ made in memory, and their weights by the formula in double arithmetic.
#pragma once
#include <qnt/io/awq.hpp>

#include <random>

#include "safetensors_builder.hpp"

namespace test::awq {

struct checkpoint {
    std::size_t rows, cols, groups;                   // [out, in]
    std::vector<std::vector<unsigned>> codes, zeros;  // [in][out], [groups][out]
    std::vector<qnt::f16> scales;                     // [groups, out]

    // As AutoAWQ packs: eight neighbours to a word, in this order from the lowest nibble on.
    static std::vector<std::int32_t> pack(const std::vector<std::vector<unsigned>>& lines) {
        const std::size_t order[] = {0, 2, 4, 6, 1, 3, 5, 7};
        std::vector<std::int32_t> words;
        for (const auto& line : lines)
            for (std::size_t c = 0; c < line.size() / 8; ++c) {
                std::uint32_t word = 0;
                for (std::size_t i = 8; i-- > 0;) word = word * 16 + line[c * 8 + order[i]];
                words.push_back(std::int32_t(word));
            }
        return words;
    }
    std::vector<qnt::named_array> tensors(const std::string& name = "fc") const {
        return {array_of(name + ".qweight", qnt::safetensors_dtype::i32, {cols, rows / 8}, pack(codes)),
                array_of(name + ".qzeros", qnt::safetensors_dtype::i32, {groups, rows / 8}, pack(zeros)),
                array_of(name + ".scales", qnt::safetensors_dtype::f16, {groups, rows}, scales)};
    }
    std::vector<float> expected() const {
        std::vector<float> w;
        for (std::size_t o = 0; o < rows; ++o)
            for (std::size_t i = 0; i < cols; ++i) {
                const std::size_t g = i / (cols / groups);
                w.push_back(float((double(codes[i][o]) - double(zeros[g][o])) * double(float(scales[g * rows + o]))));
            }
        return w;
    }
};
inline checkpoint make(std::size_t rows, std::size_t cols, std::size_t group, int zero = -1) {
    std::mt19937 random(unsigned(rows + cols));
    checkpoint c{rows, cols, cols / group, {}, {}, {}};
    c.codes.assign(cols, std::vector<unsigned>(rows));
    c.zeros.assign(c.groups, std::vector<unsigned>(rows));
    for (auto& line : c.codes)
        for (unsigned& q : line) q = random() % 16;
    for (auto& line : c.zeros)
        for (unsigned& z : line) z = zero < 0 ? random() % 16 : unsigned(zero);
    for (std::size_t i = 0; i < c.groups * rows; ++i) c.scales.emplace_back(float(random() % 1000 + 1) * 1e-4f);
    return c;
}

}  // namespace test::awq
