// Products of random formats, types, epilogues and strides whose operands all lie next to pages that must not be touched.
#pragma once
#include <array>
#include <string>

#include "nn/reference.hpp"
#include "plain_matmul.hpp"

namespace test {

// A code without exact integer operands: its bytes are looked up one by one.
struct squares_code {
    static constexpr const char* name = "squares";
    static constexpr int bits = 8;
    static constexpr float absmax = 127 * 127;
    static constexpr std::uint8_t encode(float x) {
        const float size = x < 0 ? -x : x;
        int q = 0;
        while (q < 127 && (decode(std::uint8_t(q)) + decode(std::uint8_t(q + 1))) / 2 < size) ++q;
        return std::uint8_t(std::int8_t(x < 0 ? -q : q));
    }
    static constexpr float decode(std::uint8_t q) {
        const int i = std::int8_t(q);
        return float(i < 0 ? -i * i : i * i);
    }
};
using squares = qnt::format<squares_code, qnt::per_group<48, float>>;

// Memory between two such pages. What is placed in it lies at one of its ends.
class guarded_room {
public:
    explicit guarded_room(std::size_t most) : bytes_(qnt::round_up(most, std::size_t(sysconf(_SC_PAGESIZE)))) {}
    std::byte* place(std::size_t n, bool at_start) {
        REQUIRE(n <= all().size());
        return at_start ? all().data() : all().data() + all().size() - n;
    }
    std::span<std::byte> all() { return bytes_.span(); }

private:
    guarded<std::byte> bytes_;
};

struct product_shape {
    std::size_t n, k, m;
};

// f(T{}) with the type T.
template <class F> void with_type(qnt::scalar_type type, const F& f) {
    if (type == qnt::scalar_type::f32) f(float{});
    else if (type == qnt::scalar_type::f16) f(qnt::f16{});
    else f(qnt::bf16{});
}

class guarded_product {
public:
    explicit guarded_product(const product_shape& most)
        : weights_(most.n * most.k),
          values_(random_floats(1 << 18, 1)),
          w_(qnt::round_up(most.n, 16) * qnt::round_up(most.k, 16) * 6 + 4096),
          x_(most.m * (most.k + most_gap) * sizeof(float)),
          y_(most.m * (most.n + most_gap) * sizeof(float)),
          residual_(y_.all().size()),
          bias_(most.n * sizeof(float)) {}

    // A product of this format ("squares": the one above), mode and shape; all else is drawn.
    void make(std::mt19937& random, const std::string& format, qnt::compute_mode m, const product_shape& s) {
        const auto one_of = [&](std::size_t n) { return std::size_t(random() % n); };
        const auto type = [&] { return std::array{qnt::scalar_type::f32, qnt::scalar_type::f16, qnt::scalar_type::bf16}[one_of(4) % 3]; };
        const auto stride = [&](std::size_t columns) { return columns + one_of(2) * one_of(most_gap + 1); };
        shape = s;
        mode = m;
        pack(format, one_of(2) == 0, one_of(values_.size()));

        x = {nullptr, type(), s.m, s.k, stride(s.k)};
        x.data = place(x_, x, one_of(2) == 0);
        inputs_.resize(s.m * s.k);
        with_type(x.type, [&](auto element) {
            using T = decltype(element);
            const std::span<T> room = as<T>(x_);
            std::fill(room.begin(), room.end(), T(qnt::quiet_nan()));  // also between rows: whoever reads that shows it
            for (std::size_t i = 0, from = one_of(values_.size()); i < inputs_.size(); ++i) {
                const T v(values_[(from + i) % values_.size()]);
                static_cast<T*>(const_cast<void*>(x.data))[i / s.k * x.stride + i % s.k] = v;
                inputs_[i] = float(v);
            }
        });

        y = {nullptr, type(), s.m, s.n, stride(s.n)};
        y.data = place(y_, y, one_of(2) == 0);
        epilogue = {};
        if (one_of(2) == 0) {
            auto* const bias = reinterpret_cast<float*>(bias_.place(s.n * sizeof(float), one_of(2) == 0));
            copy_values(bias, s.n, one_of(values_.size()));
            epilogue.bias = {bias, s.n};
        }
        if (one_of(2) == 0) epilogue.act = qnt::gelu_tanh;
        if (one_of(2) == 0) {
            qnt::detail::scalar_rows at = y;
            in_place = y.type == qnt::scalar_type::f32 && one_of(2) == 0;
            if (!in_place) {
                at = {nullptr, qnt::scalar_type::f32, s.m, s.n, stride(s.n)};
                at.data = place(residual_, at, one_of(2) == 0);
                const std::span<float> room = as<float>(residual_);
                std::fill(room.begin(), room.end(), qnt::quiet_nan());
            }
            epilogue.residual = {static_cast<const float*>(at.data), s.m, s.n, at.stride};
            residuals_.resize(s.m * s.n);
            copy_values(residuals_.data(), residuals_.size(), one_of(values_.size()));
            if (!in_place) write_residual();
        } else {
            in_place = false;
        }
        text = format + " [" + std::to_string(s.n) + ", " + std::to_string(s.k) + "] M=" + std::to_string(s.m) + " " + qnt::name_of(mode) + " " +
               qnt::name_of(x.type) + " to " + qnt::name_of(y.type) + (epilogue.bias.data() ? ", bias" : "") +
               (epilogue.act == qnt::gelu_tanh ? ", gelu" : "") +
               (in_place                 ? ", in place"
                : epilogue.residual.data ? ", residual"
                                         : "");
    }

    // All bytes around and in y after multiply(y, x, w, options).
    template <class Multiply> std::span<const std::byte> run(const Multiply& multiply) {
        restore();
        multiply(y, x, w, qnt::matmul_options{.mode = mode, .epilogue = epilogue});
        return y_.all();
    }
    // The same, of the plain loops.
    std::vector<std::byte> expected() {
        const auto products = plain_weights(w).product(inputs_, shape.m, mode);
        restore();
        with_type(y.type, [&](auto element) {
            using T = decltype(element);
            for (std::size_t i = 0; i < products.size(); ++i) {
                float v = products[i];
                if (epilogue.bias.data()) v += epilogue.bias[i % shape.n];
                if (epilogue.act == qnt::gelu_tanh) v = reference::gelu(v);
                if (epilogue.residual.data) v += residuals_[i];
                static_cast<T*>(const_cast<void*>(y.data))[i / shape.n * y.stride + i % shape.n] = T(v);
            }
        });
        return {y_.all().begin(), y_.all().end()};
    }

    std::string text;
    product_shape shape{};
    qnt::compute_mode mode = qnt::exact;
    bool in_place = false;  // the residual is y
    qnt::detail::scalar_rows x{}, y{};
    qnt::any_view<qnt::layout::panels> w{};
    qnt::epilogue_list epilogue;

private:
    static constexpr std::size_t most_gap = 7;  // between rows

    template <class T> static std::span<T> as(guarded_room& room) { return {reinterpret_cast<T*>(room.all().data()), room.all().size() / sizeof(T)}; }
    // From the first element of the first row to the last one of the last row.
    static const void* place(guarded_room& room, const qnt::detail::scalar_rows& v, bool at_start) {
        return room.place(((v.rows - 1) * v.stride + v.cols) * qnt::size_of(v.type), at_start);
    }
    void copy_values(float* to, std::size_t n, std::size_t from) const {
        for (std::size_t i = 0; i < n; ++i) to[i] = values_[(from + i) % values_.size()];
    }
    void pack(const std::string& format, bool at_start, std::size_t from) {
        copy_values(weights_.data(), shape.n * shape.k, from);
        const qnt::matrix_view<const float> dense{weights_.data(), shape.n, shape.k};
        const auto keep = [&](const auto& packed, const qnt::any_view<qnt::layout::panels>& view) {
            w = view;
            w.data = w_.place(packed.bytes().size(), at_start);
            std::memcpy(const_cast<std::byte*>(w.data), packed.bytes().data(), packed.bytes().size());
        };
        if (format == "squares") {
            const auto packed = qnt::quantize<squares>(dense).value();
            keep(packed, packed.view());
        } else {
            const auto packed = qnt::quantize(dense, parse(format.c_str())).value();
            keep(packed, packed.view());
        }
    }
    void write_residual() {
        for (std::size_t i = 0; i < residuals_.size(); ++i)
            const_cast<float*>(epilogue.residual.data)[i / shape.n * epilogue.residual.row_stride + i % shape.n] = residuals_[i];
    }
    void restore() {
        std::memset(y_.all().data(), 0xcd, y_.all().size());
        if (in_place) write_residual();
    }

    std::vector<float> weights_, values_, inputs_, residuals_;
    guarded_room w_, x_, y_, residual_, bias_;
};

// The product of the library.
inline void multiply(const qnt::detail::scalar_rows& y, const qnt::detail::scalar_rows& x, const qnt::any_view<qnt::layout::panels>& w,
                     const qnt::matmul_options& options) {
    with_type(y.type, [&](auto to) {
        with_type(x.type, [&](auto from) {
            using Y = decltype(to);
            using X = const decltype(from);
            qnt::gemm(qnt::matrix_view<Y>{static_cast<Y*>(const_cast<void*>(y.data)), y.rows, y.cols, y.stride},
                      qnt::matrix_view<X>{static_cast<X*>(x.data), x.rows, x.cols, x.stride}, w, options);
        });
    });
}

}  // namespace test
