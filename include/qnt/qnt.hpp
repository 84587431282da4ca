// qnt: quantization for C++20, header-only. Everything for the CPU.
#pragma once
#include "any_format.hpp"
#include "core.hpp"
#include "explain.hpp"
#include "isa/isa.hpp"
#include "matmul.hpp"
#include "quantize.hpp"
#include "report.hpp"
