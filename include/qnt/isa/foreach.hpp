// No include guard: includes QNT_ISA_FILE once per instruction set of this architecture, each time inside its region and with
// QNT_ISA defined as its name; with QNT_FLOAT_ISAS_ONLY defined, once per one with float kernels of its own (isa.hpp). Where ops::tiles
// is a type, QNT_ISA_OF_FEW_ROWS has the kernels for fewer rows than a tile has. The bodies open `namespace qnt::isa::inline QNT_BASELINE::QNT_ISA`.
#define QNT_ISA scalar
#define QNT_UNROLL
#include QNT_ISA_FILE
#undef QNT_UNROLL
#undef QNT_ISA
#define QNT_UNROLL QNT_UNROLL_FULLY
#if defined(__x86_64__)
QNT_REGION_BEGIN(QNT_TARGET_AVX2)
#define QNT_ISA avx2
#include QNT_ISA_FILE
#undef QNT_ISA
QNT_REGION_END
#if !defined(QNT_FLOAT_ISAS_ONLY)
QNT_REGION_BEGIN(QNT_TARGET_AVXVNNI)
#define QNT_ISA avxvnni
#include QNT_ISA_FILE
#undef QNT_ISA
QNT_REGION_END
#endif
QNT_REGION_BEGIN(QNT_TARGET_AVX512)
#define QNT_ISA avx512
#include QNT_ISA_FILE
#undef QNT_ISA
QNT_REGION_END
#if !defined(QNT_FLOAT_ISAS_ONLY)
QNT_REGION_BEGIN(QNT_TARGET_AVX512VNNI)
#define QNT_ISA avx512vnni
#include QNT_ISA_FILE
#undef QNT_ISA
QNT_REGION_END
QNT_REGION_BEGIN(QNT_TARGET_AMX_INT8)
#define QNT_ISA amx_int8
#define QNT_ISA_OF_FEW_ROWS avx512vnni
#include QNT_ISA_FILE
#undef QNT_ISA_OF_FEW_ROWS
#undef QNT_ISA
QNT_REGION_END
#endif
#elif defined(__aarch64__)
#define QNT_ISA neon
#include QNT_ISA_FILE
#undef QNT_ISA
#if !defined(QNT_FLOAT_ISAS_ONLY)
QNT_REGION_BEGIN(QNT_TARGET_DOTPROD)
#define QNT_ISA dotprod
#include QNT_ISA_FILE
#undef QNT_ISA
QNT_REGION_END
QNT_REGION_BEGIN(QNT_TARGET_I8MM)
#define QNT_ISA i8mm
#include QNT_ISA_FILE
#undef QNT_ISA
QNT_REGION_END
#endif
#endif
#undef QNT_UNROLL
#undef QNT_ISA_FILE
#undef QNT_FLOAT_ISAS_ONLY
