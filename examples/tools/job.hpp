// What all conversions have in common: where from, where to, by which rules, and how to be stopped.
#pragma once
#include "conversion.hpp"
#include "interrupt.hpp"
#include "progress.hpp"
#include "source.hpp"

namespace tools {

struct job {
    const source& in;
    const rules& policy;
    std::string out;
    bool is_plan = false, is_strict = false;
    qnt::executor_ref executor;

    // Numbers of the tensors before i: how progress counts.
    double elements_before(std::size_t i) const {
        double n = 0;
        for (std::size_t k = 0; k < i; ++k) n += double(source::elements_of(in.tensors[k]));
        return n;
    }
};

#define QNT_TEXT_OF(x) #x
#define QNT_VERSION_TEXT(major, minor, patch) QNT_TEXT_OF(major) "." QNT_TEXT_OF(minor) "." QNT_TEXT_OF(patch)

// Where the new file comes from. No folders and no times: equal inputs give equal bytes.
inline text_pairs provenance_of(const job& j) {
    return {{"source", name_of_file(j.in.path)},
            {"source_format", j.in.format},
            {"policy", j.policy.to_json()},
            {"qnt_version", QNT_VERSION_TEXT(QNT_VERSION_MAJOR, QNT_VERSION_MINOR, QNT_VERSION_PATCH)}};
}

// To be called before each tensor; false: stop.
class steps {
public:
    explicit steps(const job& j) : job_(j), bar_(j.elements_before(j.in.tensors.size())) {}
    bool before(std::size_t i) {
        bar_.show(job_.elements_before(i), job_.in.tensors[i].name);
        return interrupted == 0;
    }

private:
    const job& job_;
    progress bar_;
};

}  // namespace tools
