// Matrices of GPTQ made in memory, bit by bit, and their weights by the formula in double arithmetic.
#pragma once
#include <qnt/io/gptq.hpp>

#include <random>

#include "safetensors_builder.hpp"

namespace test::gptq {

// Numbers to words by way of single bits: values one behind the other, each from its lowest bit, 32 bits a word.
inline std::vector<std::int32_t> words_of(const std::vector<unsigned>& values, int bits) {
    std::vector<bool> stream;
    for (const unsigned v : values)
        for (int b = 0; b < bits; ++b) stream.push_back(v >> b & 1);
    stream.resize((stream.size() + 31) / 32 * 32);
    std::vector<std::int32_t> words;
    for (std::size_t i = 0; i < stream.size(); i += 32) {
        std::uint32_t w = 0;
        for (std::size_t b = 32; b-- > 0;) w = w * 2 + stream[i + b];
        words.push_back(std::int32_t(w));
    }
    return words;
}

struct checkpoint {
    std::size_t rows, cols, groups;
    int bits;
    std::vector<std::vector<unsigned>> codes;  // [rows][cols]
    std::vector<std::vector<unsigned>> zeros;  // [groups][rows], as meant
    std::vector<std::vector<float>> scales;    // [groups][rows], f16 numbers
    std::vector<std::int32_t> group_of;        // [cols]

    std::vector<qnt::named_array> tensors(qnt::gptq_convention c, const std::string& name = "fc") const {
        std::vector<std::int32_t> weight, zero, index = group_of;
        const std::size_t lines = (cols * std::size_t(bits) + 31) / 32;
        weight.resize(lines * rows);
        for (std::size_t o = 0; o < rows; ++o) {
            const auto column = words_of(codes[o], bits);
            for (std::size_t l = 0; l < lines; ++l) weight[l * rows + o] = column[l];
        }
        std::vector<qnt::f16> scale;
        for (std::size_t g = 0; g < groups; ++g) {
            auto stored = zeros[g];
            for (unsigned& z : stored) z -= c == qnt::gptq_convention::v1;
            const auto line = words_of(stored, bits);
            zero.insert(zero.end(), line.begin(), line.end());
            for (const float s : scales[g]) scale.emplace_back(s);
        }
        return {array_of(name + ".qweight", qnt::safetensors_dtype::i32, {lines, rows}, weight),
                array_of(name + ".qzeros", qnt::safetensors_dtype::i32, {groups, zero.size() / groups}, zero),
                array_of(name + ".scales", qnt::safetensors_dtype::f16, {groups, rows}, scale),
                array_of(name + ".g_idx", qnt::safetensors_dtype::i32, {cols}, index)};
    }
    std::vector<float> expected() const {
        std::vector<float> w;
        for (std::size_t o = 0; o < rows; ++o)
            for (std::size_t i = 0; i < cols; ++i) {
                const std::size_t g = std::size_t(group_of[i]);
                w.push_back(float((double(codes[o][i]) - double(zeros[g][o])) * double(scales[g][o])));
            }
        return w;
    }
};

enum class columns { in_order, shuffled };

// zero: of all groups; -1: random ones from 1 to 2^bits - 1.
inline checkpoint make(int bits, std::size_t rows, std::size_t cols, std::size_t group, int zero, columns order = columns::in_order,
                       unsigned seed = 1) {
    std::mt19937 random(seed);
    const unsigned levels = 1u << bits;
    const auto below = [&](unsigned n) { return unsigned(random() % n); };
    checkpoint c{rows, cols, (cols + group - 1) / group, bits, {}, {}, {}, {}};
    c.codes.assign(rows, std::vector<unsigned>(cols));
    for (auto& row : c.codes)
        for (unsigned& q : row) q = bits == 8 ? 1 + below(255) : below(levels);
    c.zeros.assign(c.groups, std::vector<unsigned>(rows));
    c.scales.assign(c.groups, std::vector<float>(rows));
    for (std::size_t g = 0; g < c.groups; ++g)
        for (std::size_t o = 0; o < rows; ++o) {
            c.zeros[g][o] = zero < 0 ? 1 + below(levels - 1) : unsigned(zero);
            c.scales[g][o] = float(qnt::f16(float(random() % 1000 + 1) * 1e-4f));
        }
    for (std::size_t i = 0; i < cols; ++i) c.group_of.push_back(std::int32_t(i / group));
    if (order == columns::shuffled)
        for (std::size_t i = cols; i > 1; --i) std::swap(c.group_of[i - 1], c.group_of[random() % i]);
    return c;
}

}  // namespace test::gptq
