// What the kernels need of NVRTC. There are no headers, and nothing here for which a GPU is
// asked: tests/native/shim.h has the same names for a CPU.

#define PHIID_FN __device__ __forceinline__
#define PHIID_UNROLL _Pragma("unroll")
#define PHIID_UNROLL_FOUR _Pragma("unroll 4")
#define PHIID_ROLLED _Pragma("unroll 1")
#define PHIID_KERNEL(...) __global__ void __launch_bounds__(__VA_ARGS__)
#define PHIID_SHARED(Type, name) __shared__ Type name
// The same of what a launch asks for: more than the 48 KB that a block has otherwise.
#define PHIID_DYNAMIC(Type, name)                             \
    extern __shared__ __align__(16) unsigned char phiid_dynamic[]; \
    Type& name = *reinterpret_cast<Type*>(phiid_dynamic)

// Whether tensor cores take 16 rows at once. Those of sm_90 need them: 8 are half as fast there.
#define PHIID_SIXTEEN_ROWS (__CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1000)
// Whether these products are faster than those of float32, which tensor cores would round: where
// there is one unit of double precision for two of single.
#define PHIID_DOUBLE_PRODUCTS (__CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900)

namespace phiid {

// Keeps a number, which the compiler might form again in a loop for want of registers.
PHIID_FN void keep(double& value) { asm volatile("mov.b64 %0, %0;" : "+d"(value)); }

// The 8 x 8 product of (8 x 4 STEPS) with (4 STEPS x 8), added to c, by all 32 lanes of a warp
// at once. Lane l has a[s] = A[l / 4, 4 s + l % 4], b[s] = B[4 s + l % 4, l / 4] and
// c[j] = C[l / 4, 2 (l % 4) + j]. Double precision on the tensor cores, sm_80 on.
template <int STEPS>
PHIID_FN void multiply_add(double (&c)[2], const double (&a)[STEPS], const double (&b)[STEPS]) {
    PHIID_UNROLL
    for (int s = 0; s < STEPS; ++s)
        asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+d"(c[0]), "+d"(c[1])
            : "d"(a[s]), "d"(b[s]));
}

// The same of 16 rows and 16 samples: b as above, and of rows l / 4 and l / 4 + 8 in turn
// a[2 s], a[2 s + 1] = A[row, 4 s + l % 4] and c[j], c[2 + j] = C[row, 2 (l % 4) + j].
PHIID_FN void multiply_add(double (&c)[4], const double (&a)[8], const double (&b)[4]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7, %8, %9, %10, %11}, {%12, %13, %14, %15}, {%0, %1, %2, %3};"
        : "+d"(c[0]), "+d"(c[1]), "+d"(c[2]), "+d"(c[3])
        : "d"(a[0]), "d"(a[1]), "d"(a[2]), "d"(a[3]), "d"(a[4]), "d"(a[5]), "d"(a[6]), "d"(a[7]),
          "d"(b[0]), "d"(b[1]), "d"(b[2]), "d"(b[3]));
}

// The same of 4 samples: rows l / 4 and l / 4 + 8.
PHIID_FN void multiply_add(double (&c)[4], const double (&a)[2], const double (&b)[1]) {
    asm("mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+d"(c[0]), "+d"(c[1]), "+d"(c[2]), "+d"(c[3])
        : "d"(a[0]), "d"(a[1]), "d"(b[0]));
}

// Where numbers lie in shared memory.
using Place = unsigned;

PHIID_FN Place place_of(double* numbers) { return Place(__cvta_generic_to_shared(numbers)); }

template <int NUMBERS>
PHIID_FN Place moved(Place place) {
    return place + 8 * NUMBERS;
}

// Starts a copy of two numbers to shared memory, at multiples of 16 bytes and at an offset. It
// belongs to the thread's next `commit_copies`, and is there for this thread after its
// `wait_for_copies`, for the others after a barrier behind that.
template <int NUMBERS>
PHIID_FN void copy_ahead(Place to, const double* from) {
    asm volatile("cp.async.cg.shared.global [%0 + %2], [%1 + %2], 16;" ::"r"(to), "l"(from),
                 "n"(8 * NUMBERS)
                 : "memory");
}

PHIID_FN void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Of all that this thread has committed.
PHIID_FN void wait_for_copies() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

}  // namespace phiid
