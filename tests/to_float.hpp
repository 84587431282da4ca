// Numbers of an oracle in double arithmetic, rounded to float.
#pragma once

namespace test {

// Through memory: compilers know that a product or sum of two floats is exact enough in double to be rounded once more without harm, compute
// float(double * double) in float, and fuse it with a sum where they may.
inline float to_float(double v) {
    volatile float rounded = float(v);
    return rounded;
}

}  // namespace test
