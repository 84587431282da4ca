// The product kernels of part QNT_COMPILED_PART, for the target qnt::compiled: see the header.
#include <qnt/kernels/table.hpp>
