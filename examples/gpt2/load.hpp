// GPT-2 from files: a folder in Hugging Face's layout or a .safetensors file beside its config.json, a .gguf of the architecture gpt2, or
// a .qnt with Hugging Face's names and its config.json in the metadata, whose weights run where they lie.
//
//   gpt2::model model = gpt2::load_model("examples/models/qnt-gpt2-5m", {.weights = {{"*", qnt::use<qnt::int8_channel>}}}, pool);
//
//   const auto file = qnt::checkpoint_file::open(path).value();           // or as a checkpoint, for quantize_model()
//   qnt::checkpoint tensors = gpt2::checkpoint_of(file, gpt2::config_of(file));
#pragma once
#include <map>
#include <string>
#include <vector>

#include <qnt/model/checkpoint_file.hpp>

#include "config.hpp"
#include "model.hpp"

namespace gpt2 {

// The largest magnitude of each input of each matrix over some text, [in], by tensor name: "h.0.attn.c_attn.weight". calibrate.hpp makes it.
using input_ranges = std::map<std::string, std::vector<float>>;

struct load_options {
    // Formats of the matrices, by tensor name without prefix: "wte", "h.0.attn.c_attn", ..., and "lm_head" where it is not tied to wte.
    // Where a file holds just the format that is asked for, its codes are taken over. A .qnt runs as it is: to ask it for another format is
    // an error, to ask for none (no rules) is not; of other files the matrices are then made what `unless_asked` says.
    qnt::policy weights = {};
    qnt::policy unless_asked{{"*", qnt::keep<float>}};
    input_ranges calibration = {};  // what rules with outlier columns need
    qnt::compute_mode mode = qnt::automatic;
    bool in_memory = false;  // a .qnt in memory of our own, huge pages where the system has them, instead of mapped: slower to load, faster to run
    bool verify = false;     // the checksums of a .qnt; without, nothing of it is read before it is needed
};

// From any of the files above. Throws std::runtime_error (qnt::exception is one) naming file, tensor and what is wrong with it.
model load_model(const std::string& path, const load_options& options = {}, qnt::executor_ref executor = {});

// What a model is made of, under Hugging Face's names.
struct expected_tensor {
    std::string name;
    std::vector<std::size_t> shape;  // [out, in] of matrices
    const char* shape_text;          // the same in the words of config.json
    bool is_conv1d = false;          // Hugging Face stores it as [in, out]
    bool is_array = false;           // never quantized
};
std::vector<expected_tensor> tensors_of(const config& c);

// From config.json beside the file, or from its metadata. Throws what parse_config() throws, or naming what is not there.
config config_of(const qnt::checkpoint_file& file);

// All of a model, shapes checked against the configuration: what quantize_model() writes and load_model() reads back. A head of its
// own, "lm_head.weight", is the last, if it is not equal to "wte.weight". Throws naming file, tensor and both shapes.
qnt::checkpoint checkpoint_of(const qnt::checkpoint_file& file, const config& c);

// Tells each tensor what is known of its inputs.
void set_calibration(qnt::checkpoint& tensors, const input_ranges& calibration);

// The path of another file in the same folder.
inline std::string beside(const qnt::checkpoint_file& file, const char* name) { return (std::filesystem::path(file.folder()) / name).string(); }

}  // namespace gpt2
