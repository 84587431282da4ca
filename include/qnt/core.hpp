// Types only: formats, layouts, containers, errors. No intrinsics, no threads.
#pragma once
#include "activations.hpp"
#include "core/executor.hpp"
#include "core/matrix_view.hpp"
#include "packed/matrix.hpp"
