#include <serve/metrics.hpp>

#include "catch.hpp"

TEST_CASE("metrics: buckets of a histogram count what is not above their bound") {
    serve::histogram h(0.5);
    for (const double v : {0.0, 0.5, 0.6, 1.0, 3.0, 1e9}) h.add(v);
    CHECK(h.bound(0) == 0.5);
    CHECK(h.bound(3) == 4);
    CHECK(h.count(0) == 2);
    CHECK(h.count(1) == 2);
    CHECK(h.count(2) == 0);
    CHECK(h.count(3) == 1);
    CHECK(h.count(serve::histogram::buckets) == 1);
    CHECK(h.sum() == 1000000005.1);
}

TEST_CASE("metrics: the text is what Prometheus reads") {
    serve::counter c;
    c.add();
    c.add(2);
    serve::histogram h(65536);
    h.add(1);
    serve::metrics_text out;
    out.metric("a_total", "counter", "As.");
    out.sample("", c.value());
    out.sample("b=\"c\"", 0.25);
    out.metric("h", "histogram", "Hs.");
    out.samples("m=\"x\"", h);
    const std::string text = out.take();
    CHECK(
        text.starts_with("# HELP a_total As.\n# TYPE a_total counter\na_total 3\na_total{b=\"c\"} 0.25\n# HELP h Hs.\n# TYPE h histogram\n"
                         "h_bucket{m=\"x\",le=\"65536\"} 1\nh_bucket{m=\"x\",le=\"131072\"} 1\n"));
    CHECK(text.ends_with("h_bucket{m=\"x\",le=\"+Inf\"} 1\nh_sum{m=\"x\"} 1\nh_count{m=\"x\"} 1\n"));
}
