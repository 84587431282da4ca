// Safetensors files made in memory, from tensors that tests may damage first.
#pragma once
#include <qnt/io/checkpoint.hpp>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "catch.hpp"

namespace test {

template <class T>
qnt::named_array array_of(std::string name, qnt::safetensors_dtype dtype, std::vector<std::size_t> shape, const std::vector<T>& v) {
    qnt::named_array a{std::move(name), dtype, std::move(shape), std::vector<std::byte>(v.size() * sizeof(T))};
    if (!v.empty()) std::memcpy(a.bytes.data(), v.data(), a.bytes.size());
    return a;
}

inline qnt::named_array& part(std::vector<qnt::named_array>& all, const std::string& name) {
    const auto at = std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.name == name; });
    INFO(name);
    REQUIRE(at != all.end());
    return *at;
}
template <class T> void set(qnt::named_array& a, std::size_t i, T value) {
    REQUIRE((i + 1) * sizeof(T) <= a.bytes.size());
    std::memcpy(a.bytes.data() + i * sizeof(T), &value, sizeof value);
}

// One byte more than necessary lies in front of the data, so that nothing is aligned.
class safetensors_image {
public:
    explicit safetensors_image(const std::vector<qnt::named_array>& tensors) {
        std::string header = "{\"odd\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}", data(1, '\0');
        for (const auto& t : tensors) {
            header += ",\"" + t.name + "\":{\"dtype\":\"" + qnt::safetensors_dtypes[std::size_t(t.dtype)].name + "\",\"shape\":[";
            for (std::size_t i = 0; i < t.shape.size(); ++i) header += (i ? "," : "") + std::to_string(t.shape[i]);
            header += "],\"data_offsets\":[" + std::to_string(data.size()) + "," + std::to_string(data.size() + t.bytes.size()) + "]}";
            data.append(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
        }
        header += '}';
        const std::uint64_t length = header.size();
        bytes_.assign(reinterpret_cast<const char*>(&length), sizeof length);
        bytes_ += header + data;
    }
    const std::string& bytes() const { return bytes_; }
    qnt::safetensors_file file() const {
        const auto bytes = std::as_bytes(std::span(bytes_.data(), bytes_.size()));
        auto f = qnt::safetensors_file::view({bytes.data(), bytes.size()}, "image");
        INFO((f ? std::string() : f.error().message));
        REQUIRE(f.has_value());
        return std::move(*f);
    }

private:
    std::string bytes_;
};

inline std::vector<float> decoded(const qnt::any_matrix& w) {
    std::vector<float> v(w.rows() * w.cols());
    qnt::dequantize(qnt::matrix_view<float>{v.data(), w.rows(), w.cols()}, w.view());
    return v;
}

}  // namespace test
