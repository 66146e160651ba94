// The functions that kernels/cpu_backend/bindings.py calls. Arrays are contiguous and C-ordered; a
// function returns what it has found, to be read and freed, or null with `error` set.

#include <exception>
#include <memory>
#include <string>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

#include "blocks.h"
#include "ccs.h"
#include "discrete.h"
#include "matrices.h"
#include "node_sums.h"
#include "pointwise.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace phiid;

namespace {

thread_local std::string error;

// Of Python's C interface: addresses that bindings.load gives, so that no header is needed.
struct Python {
    int (*acquire)();  // the lock of the interpreter
    void (*release)(int);
    int (*signals)();  // runs what handles signals that have come, -1 if that raises
    void (*take)(void**, void**, void**);  // what was raised
    void (*raise)(void*, void*, void*);
};
Python python{};
thread_local void* raised[3];

// Where Python handles signals.
bool main_thread() {
#if defined(__linux__)
    return syscall(SYS_gettid) == getpid();
#elif defined(__APPLE__)
    return pthread_main_np() != 0;
#else
    return false;
#endif
}

// Lets Python handle signals, and keeps what a handler raises, as the one of Ctrl-C does.
bool interrupted() {
    if (python.signals == nullptr || !main_thread()) return false;
    const int state = python.acquire();
    const bool end = python.signals() != 0;
    if (end) python.take(&raised[0], &raised[1], &raised[2]);
    python.release(state);
    return end;
}

// Runs a function that makes a Found; what it throws becomes `error`.
template <class Make>
Found* guarded(const Make& make) {
    Watch watch(interrupted);
    const OnDuty on_duty(&watch, true);
    try {
        return new Found(make());
    } catch (const std::exception& thrown) {
        error = thrown.what();
        return nullptr;
    }
}

}  // namespace

// What is decomposed. Mirrored by bindings.Task.
struct Task {
    int64_t trials, nodes, samples;
    int64_t estimator;  // one of those below
    const void* values;                     // packed vectors, or words of bits
    const double* series;                   // (trials, samples + tau, nodes), to be taken in blocks;
                                            // null: taps are there, or others of these
    double *taps, *ends;                    // pairs of samples, in place of vectors
    const double *past, *future, *lagged;   // matrices, where there are no vectors
    double *own, *magnified;
    unsigned char* constant;
    const double* table;                    // discrete: by count
    double limit;
    int64_t alone;                 // persistence reference
    int64_t names;
    int64_t quantities;            // 2: rtr and sts, 16: cumulative informations
    const double* weights;
    const int64_t* mirror;
    int64_t per_trial, threads;
    int64_t blocks, tau;           // of pairs of samples
    int64_t finished;              // matrices of means, NaN where there is none; 0: of sums
    int64_t block;                 // trials that there is memory for, of a series
    int64_t refused;               // written: 1 if rounding is magnified in too many nodes of a
                                   // series, and nothing was done
};

namespace {

enum { GAUSSIAN_MMI, GAUSSIAN_CCS, DISCRETE_MMI, DISCRETE_CCS };

// Null if a series is refused.
std::unique_ptr<Sum> sum_of(Task& task, const Area& area) {
    if (task.series != nullptr) {
        const Series series{task.series, task.trials, task.samples + task.tau, task.nodes, task.tau,
                            task.block, task.taps, task.ends, task.own, task.magnified,
                            task.constant};
        const auto make =
            task.quantities == Two::quantities ? in_blocks<Two> : in_blocks<All>;
        std::unique_ptr<Sum> sum =
            make(series, area, task.limit, task.alone != 0, int(task.threads));
        task.refused = sum == nullptr;
        return sum;
    }
    if (task.estimator == DISCRETE_MMI || task.estimator == DISCRETE_CCS) {
        const Words words{static_cast<const unsigned long long*>(task.values), task.constant,
                          task.trials, task.nodes, task.samples, task.table};
        if (task.estimator == DISCRETE_MMI) return std::make_unique<Discrete<false>>(words);
        return std::make_unique<Discrete<true>>(words);
    }
    const Features features{static_cast<const double*>(task.values), task.taps, task.ends, task.past,
                            task.future, task.lagged, task.own, task.magnified, task.constant,
                            task.trials, task.nodes, task.samples, task.blocks, task.tau};
    if (task.estimator == GAUSSIAN_CCS) return std::make_unique<Ccs>(features, task.limit);
    if (task.quantities == Two::quantities)
        return std::make_unique<Mmi<Two>>(features, task.limit, task.alone != 0);
    return std::make_unique<Mmi<All>>(features, task.limit, task.alone != 0);
}

Combination combination_of(const Task& task) {
    return {int(task.names), int(task.quantities), task.weights, task.mirror};
}

template <class Number>
Found matrices_of(Task& task, const Area& area, Number* const* out) {
    const std::unique_ptr<Sum> sum = sum_of(task, area);
    if (sum == nullptr) return Found();
    const Combination combination = combination_of(task);
    const Varying varying(task.constant, task.trials, task.nodes);
    return Matrices<Number>(*sum, task.trials, task.per_trial != 0, area, combination, out,
                            task.finished ? &varying : nullptr)
        .write(int(task.threads));
}

}  // namespace

EXPORT const char* synkern_error() { return error.c_str(); }

// Has long calls end when Python's handler of a signal raises.
EXPORT void synkern_heed(int (*acquire)(), void (*release)(int), int (*signals)(),
                         void (*take)(void**, void**, void**), void (*raise)(void*, void*, void*)) {
    python = {acquire, release, signals, take, raise};
}

// Raises again, in Python, what ended the last call of this thread; with Python's lock held.
EXPORT void synkern_raise() {
    if (raised[0] != nullptr) python.raise(raised[0], raised[1], raised[2]);
    raised[0] = raised[1] = raised[2] = nullptr;
}

EXPORT int synkern_standardise(const double* series, int64_t trials, int64_t time, int64_t nodes,
                               int64_t tau, const Area* area, double* values, double* own,
                               unsigned char* constant, int64_t threads) {
    std::unique_ptr<Found> done(guarded([&] {
        standardise(series, trials, time, nodes, tau, *area, values, own, constant, int(threads));
        return Found();
    }));
    return done ? 0 : 1;
}

EXPORT int synkern_pair_up(const double* series, int64_t trials, int64_t time, int64_t nodes,
                           int64_t tau, const Area* area, double* taps, double* ends, double* own,
                           double* magnified, unsigned char* constant, int64_t threads) {
    std::unique_ptr<Found> done(guarded([&] {
        pair_up(series, trials, time, nodes, tau, *area, taps, ends, own, magnified, constant,
                int(threads));
        return Found();
    }));
    return done ? 0 : 1;
}

EXPORT int synkern_pack(const double* past, const double* future, int64_t trials, int64_t nodes,
                        int64_t samples, double* values, double* own, int64_t threads) {
    std::unique_ptr<Found> done(guarded([&] {
        pack(past, future, trials, nodes, samples, values, own, int(threads));
        return Found();
    }));
    return done ? 0 : 1;
}

EXPORT Found* synkern_matrices_f64(Task* task, const Area* area, double* const* out) {
    return guarded([&] { return matrices_of(*task, *area, out); });
}

EXPORT Found* synkern_matrices_f32(Task* task, const Area* area, float* const* out) {
    return guarded([&] { return matrices_of(*task, *area, out); });
}

EXPORT Found* synkern_node_sums(Task* task, const Area* area, int64_t rtr, int64_t sts,
                                double* out) {
    return guarded([&] {
        const std::unique_ptr<Sum> sum = sum_of(*task, *area);
        if (sum == nullptr) return Found();
        const Combination combination = combination_of(*task);
        return NodeSums(*sum, task->constant, task->trials, task->nodes, task->per_trial != 0, *area,
                        combination, int(rtr), int(sts), out)
            .add(int(task->threads));
    });
}

EXPORT int synkern_pointwise(pointwise::Points* points) {
    std::unique_ptr<Found> done(guarded([&] {
        pointwise::at_samples(*points);
        return Found();
    }));
    return done ? 0 : 1;
}

// One pair: 0, 1 if it failed, 2 if there is nothing in `out` and the series need a closer look.
EXPORT int synkern_pair(const pointwise::Pair* pair) {
    int said = pointwise::FAILED;
    std::unique_ptr<Found> done(guarded([&] {
        said = pointwise::of_pair(*pair);
        return Found();
    }));
    return done ? said : int(pointwise::FAILED);
}

// The marks, (marks, 3), or their number if there is no array to write them to; likewise the pairs
// set aside, (pairs, 3), with their atoms (pairs, names).
EXPORT int64_t synkern_marks(const Found* found, int64_t* to) {
    if (to != nullptr) std::memcpy(to, found->marks.data(), found->marks.size() * sizeof(Mark));
    return int64_t(found->marks.size());
}

EXPORT int64_t synkern_aside(const Found* found, int64_t* to, double* partial) {
    if (to != nullptr) {
        std::memcpy(to, found->aside.data(), found->aside.size() * sizeof(Mark));
        std::memcpy(partial, found->partial.data(), found->partial.size() * sizeof(double));
    }
    return int64_t(found->aside.size());
}

EXPORT void synkern_free(Found* found) { delete found; }
