// Runs the CUDA kernels on a CPU: every thread of a block is a fiber, blocks follow one another.
//
// It finds what a GPU would only suffer from. Shared memory has its exact size and is full of NaN
// when a block starts. Between two barriers the threads run one after the other, in an order that
// the caller chooses: a missing barrier gives different numbers in different orders. A barrier that
// not all threads of a block (or a warp, for products) reach is an error. What a thread copies ahead
// is NaN until it waits for it, and stays so if it was not committed. Under -fsanitize=thread
// a fiber is a thread, and what orders them are the barriers, and the end of a launch.

#pragma once

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <ucontext.h>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// The shim's own memory is not what the thread sanitizer is asked about.
#define SHIM_OWN __attribute__((noinline, no_sanitize("thread")))

#define PHIID_FN inline
#define PHIID_UNROLL
#define PHIID_UNROLL_FOUR
#define PHIID_ROLLED
#define PHIID_KERNEL(...) void
#if !defined(PHIID_SIXTEEN_ROWS)  // as on sm_90
#define PHIID_SIXTEEN_ROWS 1
#define PHIID_DOUBLE_PRODUCTS 1
#endif
#define PHIID_SHARED(Type, name) Type& name = *static_cast<Type*>(shim::shared(sizeof(Type)))
#define PHIID_DYNAMIC(Type, name) Type& name = *static_cast<Type*>(shim::dynamic(sizeof(Type)))

static struct {
    unsigned x;
} threadIdx, blockIdx;

namespace shim {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t STACK = 1 << 18;
#else
constexpr size_t STACK = 1 << 16;
#endif

constexpr size_t STATIC = 48 * 1024;    // shared memory that a block may have
constexpr size_t SHARED = 113 * 1024;  // and if the launch asks for it: half of sm_90's

enum State { RUNNING, AT_BLOCK, AT_WARP, DONE };

// What the lanes of a warp bring to a product or a shuffle; two, so that one barrier is enough.
struct Exchange {
    double a[2][32][8], b[2][32][8];
};

// Two numbers on their way to shared memory.
struct Copy {
    double* to;
    const double* from;
    bool committed;
};

constexpr unsigned COPIES = 64;  // of a thread at once

struct Fiber {
    Copy copies[COPIES];
    unsigned pending = 0;
    std::unique_ptr<char[]> stack{new char[STACK]};
    ucontext_t context;
    jmp_buf at;
    State state;
    bool started = false;
    unsigned products = 0, barriers = 0;
    void *fake, *thread;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Exchange> warps;
    ucontext_t scheduler;
    jmp_buf back;
    void *fake, *thread;
    const void* bottom;
    size_t size;
    std::function<void()> kernel;
    std::vector<std::unique_ptr<char[]>> blocks;  // shared memory of each block so far
    char* shared;
    int any, found;
    const char* complaint;  // of a fiber, which cannot throw
    char marks[2][64][2], begin, end;  // for the thread sanitizer
};

static Block block;  // not inline: libraries of one process would share it

// Of the end, as what is beyond it is nobody's; a multiple of 16 bytes that ends there.
SHIM_OWN inline void* dynamic(size_t size) {
    if (size > SHARED || size % 16) std::abort();
    return block.shared + SHARED - size;
}

SHIM_OWN inline void* shared(size_t size) {
    if (size > STATIC) std::abort();
    return block.shared + SHARED - size;
}

// Back to the scheduler, until it enters this fiber again.
SHIM_OWN inline void leave() {
    Fiber& fiber = block.fibers[threadIdx.x];
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fiber.fake, block.bottom, block.size);
    swapcontext(&fiber.context, &block.scheduler);
    __sanitizer_finish_switch_fiber(fiber.fake, &block.bottom, &block.size);
#elif defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(block.thread, __tsan_switch_to_fiber_no_sync);
    swapcontext(&fiber.context, &block.scheduler);
#else
    if (!_setjmp(fiber.at)) _longjmp(block.back, 1);
#endif
}

SHIM_OWN inline void done() { block.fibers[threadIdx.x].state = DONE; }

// One block after the other.
SHIM_OWN inline void run() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &block.bottom, &block.size);
#endif
    for (;;) {
#if defined(__SANITIZE_THREAD__)
        __tsan_acquire(&block.begin);
#endif
        block.kernel();
#if defined(__SANITIZE_THREAD__)
        __tsan_release(&block.end);
#endif
        done();
        leave();
    }
}

SHIM_OWN inline void enter(unsigned thread) {
    Fiber& fiber = block.fibers[thread];
    threadIdx.x = thread;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&block.fake, fiber.stack.get(), STACK);
    swapcontext(&block.scheduler, &fiber.context);
    __sanitizer_finish_switch_fiber(block.fake, nullptr, nullptr);
#elif defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(fiber.thread, __tsan_switch_to_fiber_no_sync);
    swapcontext(&block.scheduler, &fiber.context);
#else
    if (_setjmp(block.back)) return;
    if (fiber.started) _longjmp(fiber.at, 1);
    fiber.started = true;
    setcontext(&fiber.context);
#endif
}

// Waits for the threads of the block, or of the warp.
SHIM_OWN inline void wait(State state) {
    Fiber& fiber = block.fibers[threadIdx.x];
    fiber.state = state;
#if defined(__SANITIZE_THREAD__)
    // Two marks in turn: whoever is a barrier ahead must not be taken for ordered already.
    const unsigned warp = state == AT_WARP ? threadIdx.x / 32 : 0;
    const unsigned turn = (state == AT_WARP ? fiber.products : fiber.barriers++) % 2;
    char* mark = &block.marks[state == AT_WARP][warp][turn];
    __tsan_release(mark);
    leave();
    __tsan_acquire(mark);
#else
    leave();
#endif
}

SHIM_OWN inline int wait_or(int value) {
    block.any |= value != 0;
    wait(AT_BLOCK);
    return block.found;
}

// A product of 8 GROUPS rows with 4 STEPS samples and 8 columns, as the instruction spreads it over
// the lanes: row group g of the lane's numbers is that of the rows from 8 g on.
template <int GROUPS, int STEPS>
SHIM_OWN void exchange(double (&c)[2 * GROUPS], const double (&a)[GROUPS * STEPS],
                       const double (&b)[STEPS]) {
    static_assert(GROUPS * STEPS <= 8, "room in Exchange");
    Exchange& warp = block.warps[threadIdx.x / 32];
    const unsigned lane = threadIdx.x % 32, turn = ++block.fibers[threadIdx.x].products % 2;
    for (int s = 0; s < GROUPS * STEPS; ++s) warp.a[turn][lane][s] = a[s];
    for (int s = 0; s < STEPS; ++s) warp.b[turn][lane][s] = b[s];
    wait(AT_WARP);
    const unsigned row = lane / 4;  // of each group
    for (unsigned g = 0; g < GROUPS; ++g)
        for (unsigned j = 0; j < 2; ++j)
            for (unsigned s = 0; s < STEPS; ++s)
                for (unsigned k = 0; k < 4; ++k) {
                    const unsigned column = 2 * (lane % 4) + j;
                    const double left = warp.a[turn][4 * row + k][GROUPS * s + g];
                    const double right = warp.b[turn][4 * column + k][s];
                    c[2 * g + j] = std::fma(left, right, c[2 * g + j]);
                }
}

// Of a lane whose number differs in the bits of `other`.
SHIM_OWN inline double from_lane(double value, int other) {
    Exchange& warp = block.warps[threadIdx.x / 32];
    const unsigned lane = threadIdx.x % 32, turn = ++block.fibers[threadIdx.x].products % 2;
    warp.a[turn][lane][0] = value;
    wait(AT_WARP);
    return warp.a[turn][lane ^ unsigned(other)][0];
}

// Not the shim's own: the thread sanitizer is to see what a copy reads and writes.
__attribute__((noinline)) inline void move_two(double* to, double first, double second) {
    to[0] = first, to[1] = second;
}

__attribute__((noinline)) inline void move_two(double* to, const double* from) {
    to[0] = from[0], to[1] = from[1];
}

// As late as can be: what is read of `from` is there at the wait.
SHIM_OWN inline void copy_later(double* to, const double* from) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16)
        block.complaint = "a copy that is not at multiples of 16 bytes";
    Fiber& fiber = block.fibers[threadIdx.x];
    move_two(to, NAN, NAN);
    if (fiber.pending == COPIES) {
        block.complaint = "more copies ahead than the shim holds";
        return;
    }
    fiber.copies[fiber.pending++] = {to, from, false};
}

SHIM_OWN inline void commit() {
    Fiber& fiber = block.fibers[threadIdx.x];
    for (unsigned k = 0; k < fiber.pending; ++k) fiber.copies[k].committed = true;
}

SHIM_OWN inline void arrive() {
    Fiber& fiber = block.fibers[threadIdx.x];
    unsigned kept = 0;
    for (unsigned k = 0; k < fiber.pending; ++k) {
        const Copy copy = fiber.copies[k];
        if (copy.committed)
            move_two(copy.to, copy.from);
        else
            fiber.copies[kept++] = copy;
    }
    fiber.pending = kept;
}

enum Order { FORWARD, REVERSE, RANDOM };

inline std::vector<unsigned> ordered(unsigned first, unsigned last, Order order,
                                     std::mt19937& random) {
    std::vector<unsigned> all;
    for (unsigned k = first; k < last; ++k) all.push_back(k);
    if (order == REVERSE) std::reverse(all.begin(), all.end());
    if (order == RANDOM) std::shuffle(all.begin(), all.end(), random);
    return all;
}

inline unsigned number_in(State state, unsigned first, unsigned last) {
    unsigned count = 0;
    for (unsigned t = first; t < last; ++t) count += block.fibers[t].state == state;
    return count;
}

// The threads of a warp one after the other, to the next barrier of the block: as far ahead of the
// others as a warp can be.
inline void run_warp(unsigned first, unsigned last, Order order, std::mt19937& random) {
    for (;;) {
        for (const unsigned t : ordered(first, last, order, random))
            if (block.fibers[t].state == RUNNING) enter(t);
        const unsigned waiting = number_in(AT_WARP, first, last);
        if (waiting == 0) return;
        if (waiting < last - first)
            throw std::runtime_error("a product or shuffle without all lanes of a warp");
        for (unsigned t = first; t < last; ++t) block.fibers[t].state = RUNNING;
    }
}

// As many fibers as a block has threads; all of them between two blocks.
inline void prepare(unsigned threads) {
    const size_t old = block.fibers.size();
    if (old == threads) return;
#if defined(__SANITIZE_THREAD__)
    for (auto& fiber : block.fibers) __tsan_destroy_fiber(fiber.thread);
#endif
    block.fibers.clear();
    block.fibers.resize(threads);
    for (auto& fiber : block.fibers) {
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, run, 0);
#if defined(__SANITIZE_THREAD__)
        fiber.thread = __tsan_create_fiber(0);
#endif
    }
}

SHIM_OWN inline void set_block(unsigned index) { blockIdx.x = index; }

inline void run_block(unsigned index, Order order, std::mt19937& random) {
    const unsigned threads = unsigned(block.fibers.size()), warps = (threads + 31) / 32;
    set_block(index);
    block.warps.assign(warps, Exchange());
    for (auto& warp : block.warps) std::memset(&warp, 0xff, sizeof warp);
    block.blocks.emplace_back(block.shared = new char[SHARED]);
    std::memset(block.shared, 0xff, SHARED);
    block.any = 0;
    block.complaint = nullptr;
    for (auto& fiber : block.fibers) fiber.state = RUNNING;
#if defined(__SANITIZE_THREAD__)
    __tsan_release(&block.begin);
#endif
    for (;;) {
        for (const unsigned warp : ordered(0, warps, order, random))
            run_warp(32 * warp, std::min(32 * warp + 32, threads), order, random);
        if (block.complaint) throw std::runtime_error(block.complaint);
        const unsigned done = number_in(DONE, 0, threads);
        if (done == threads) {
            for (const auto& fiber : block.fibers)
                if (fiber.pending > 0)
                    throw std::runtime_error("a copy that its thread does not wait for");
            return;
        }
        if (done > 0) throw std::runtime_error("a barrier that not all threads of a block reach");
        for (auto& fiber : block.fibers) fiber.state = RUNNING;
        block.found = block.any;
        block.any = 0;
    }
}

inline void run_grid(unsigned blocks, unsigned threads, Order order, unsigned seed,
                     std::function<void()> kernel) {
    std::mt19937 random(seed);
    block.kernel = std::move(kernel);
#if defined(__SANITIZE_THREAD__)
    block.thread = __tsan_get_current_fiber();
#endif
    prepare(threads);
    try {
        for (const unsigned index : ordered(0, blocks, order, random)) {
            run_block(index, order, random);
#if !defined(__SANITIZE_THREAD__)
            block.blocks.clear();
#endif
        }
    } catch (...) {
        block.fibers.clear();  // They stand somewhere in the kernel.
        block.blocks.clear();
        throw;
    }
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(&block.end);
#endif
    block.blocks.clear();
}

// ---- Kernels by name ----------------------------------------------------------------------------

struct Kernel {
    std::string parameters;  // a letter for each, see `letter`
    std::function<std::function<void()>(void**)> bind;
};

static std::map<std::string, Kernel> kernels;
static std::string error;

template <class Type>
constexpr char letter() {
    using Bare = std::remove_cv_t<std::remove_pointer_t<Type>>;
    const bool array = std::is_pointer_v<Type>;
    if (std::is_same_v<Bare, double>) return array ? 'D' : 'd';
    if (std::is_same_v<Bare, long long>) return array ? 'L' : 'l';
    if (std::is_same_v<Bare, float> && array) return 'F';
    if (std::is_same_v<Bare, unsigned long long> && array) return 'U';
    if (std::is_same_v<Bare, unsigned char> && array) return 'B';
    return '?';
}

template <class... Types, size_t... Places>
std::function<void()> bound(void (*kernel)(Types...), void** values,
                            std::index_sequence<Places...>) {
    return [kernel, arguments = std::make_tuple(*static_cast<Types*>(values[Places])...)] {
        std::apply(kernel, arguments);
    };
}

template <class... Types>
bool add(const char* name, void (*kernel)(Types...)) {
    kernels[name] = {{letter<Types>()...}, [kernel](void** values) {
                         return bound(kernel, values, std::index_sequence_for<Types...>());
                     }};
    return true;
}

}  // namespace shim

// ---- What the kernels call ----------------------------------------------------------------------

inline void __syncthreads() { shim::wait(shim::AT_BLOCK); }

inline int __syncthreads_or(int value) { return shim::wait_or(value); }

inline double __shfl_xor_sync(unsigned, double value, int other) {
    return shim::from_lane(value, other);
}

inline long long bits_of(double value) {
    long long bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline int __double2hiint(double value) { return int(bits_of(value) >> 32); }

inline int __double2loint(double value) { return int(bits_of(value)); }

inline double __hiloint2double(int high, int low) {
    const long long bits = (long long)high << 32 | unsigned(low);
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline int __popcll(unsigned long long word) { return __builtin_popcountll(word); }

inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long value) {
    return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}

// See device/nvrtc.cuh.
inline void keep(double&) {}

template <int STEPS>
void multiply_add(double (&c)[2], const double (&a)[STEPS], const double (&b)[STEPS]) {
    shim::exchange<1, STEPS>(c, a, b);
}

inline void multiply_add(double (&c)[4], const double (&a)[8], const double (&b)[4]) {
    shim::exchange<2, 4>(c, a, b);
}

inline void multiply_add(double (&c)[4], const double (&a)[2], const double (&b)[1]) {
    shim::exchange<2, 1>(c, a, b);
}

using Place = double*;

inline Place place_of(double* numbers) { return numbers; }

template <int NUMBERS>
Place moved(Place place) {
    return place + NUMBERS;
}

template <int NUMBERS>
void copy_ahead(Place to, const double* from) {
    shim::copy_later(to + NUMBERS, from + NUMBERS);
}

inline void commit_copies() { shim::commit(); }

inline void wait_for_copies() { shim::arrive(); }

#define SHIM_KERNEL(...) \
    static const bool SHIM_JOIN(added_, __COUNTER__) = shim::add(#__VA_ARGS__, &__VA_ARGS__);
#define SHIM_JOIN(one, two) SHIM_JOIN_AGAIN(one, two)
#define SHIM_JOIN_AGAIN(one, two) one##two

// The letters of a kernel's parameters, or null.
extern "C" const char* shim_parameters(const char* name) {
    const auto found = shim::kernels.find(name);
    return found == shim::kernels.end() ? nullptr : found->second.parameters.c_str();
}

extern "C" const char* shim_launch(const char* name, unsigned blocks, unsigned threads,
                                   void** values, int order, unsigned seed) {
    try {
        shim::run_grid(blocks, threads, shim::Order(order), seed,
                       shim::kernels.at(name).bind(values));
        return nullptr;
    } catch (const std::exception& thrown) {
        shim::error = thrown.what();
        return shim::error.c_str();
    }
}
