// Text in columns, each as wide as its widest cell.
//
//   tools::table t({"name", ">bytes"});      // '>': aligned to the right
//   t.add({"wte", "1024"});
//   t.print(stdout);
#pragma once
#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstdio>
#include <string>
#include <vector>

namespace tools {

class table {
public:
    explicit table(std::size_t columns) : is_right_(columns), widths_(columns) {}  // no heads
    explicit table(std::vector<std::string> heads) {
        for (std::string& head : heads) {
            is_right_.push_back(head.starts_with('>'));
            if (is_right_.back()) head.erase(0, 1);
        }
        widths_.resize(heads.size());
        add(std::move(heads));
    }

    // Cells must be printable().
    void add(std::vector<std::string> cells) {
        cells.resize(widths_.size());
        for (std::size_t i = 0; i < cells.size(); ++i) widths_[i] = std::max(widths_[i], width(cells[i]));
        rows_.push_back(std::move(cells));
    }
    void print(std::FILE* out) const {
        for (const std::vector<std::string>& row : rows_) {
            std::string line;
            for (std::size_t i = 0; i < row.size(); ++i) {
                const std::string blanks(widths_[i] - width(row[i]), ' ');
                line += (i > 0 ? "  " : "") + (is_right_[i] ? blanks + row[i] : row[i] + blanks);
            }
            line.erase(line.find_last_not_of(' ') + 1);
            std::fprintf(out, "%s\n", line.c_str());
        }
    }

private:
    static std::size_t width(const std::string& s) {  // code points
        return static_cast<std::size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
    }

    std::vector<bool> is_right_;
    std::vector<std::size_t> widths_;
    std::vector<std::vector<std::string>> rows_;
};

// 2 digits behind the point.
inline std::string decimal(double x, int digits = 2) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, x);
    return text;
}

// The shortest text that is read back as x.
template <std::floating_point T> std::string shortest(T x) {
    char text[32];
    return {text, std::to_chars(text, text + sizeof text, x).ptr};
}

inline std::string shape_text(const std::vector<std::size_t>& shape) {
    std::string s = "[";
    for (std::size_t i = 0; i < shape.size() && i < 8; ++i) s += (i > 0 ? ", " : "") + std::to_string(shape[i]);
    return s + (shape.size() > 8 ? ", ...]" : "]");
}

}  // namespace tools
