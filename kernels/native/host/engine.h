// Pairs in tiles, spread over threads: all of them, or a rectangle of their matrix. What a tile adds
// is a `Sum`; what becomes of it: matrices of pairs (matrices.h), or sums over the pairs of each node
// (node_sums.h).
//
// Every number is formed by one thread in an order of its own, so that results depend neither on
// the number of threads nor on which of them took a tile.

#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "simd.h"
#include "watch.h"

namespace phiid {

constexpr int PANEL = 8;  // nodes that lie side by side in memory
constexpr int TILE = 64;  // rows and columns; the sums of all quantities take 512 KB
constexpr int QUANTITIES = 16;  // at most
// From one quantity to the next: a line of the cache more than the entries, or all quantities of a
// pair would fall into one set of it.
constexpr int ENTRIES = TILE * TILE + 8;

// A (trial, pair) that the closed form cannot take.
struct Mark {
    int64_t trial, row, column;
};

struct Tile {
    int64_t row, column;    // first node of each
    int rows, columns;      // numbers of nodes
    bool diagonal() const { return row == column; }
};

// Quantities of a tile, summed over trials: by quantity, row and column.
class Sum {
   public:
    virtual ~Sum() = default;
    virtual int quantities() const = 0;
    // Numbers that `add` may use behind the quantities: more than the stack of a thread may hold.
    virtual int64_t scratch() const { return 0; }
    // Adds up trials `first` to `last` - 1 of every pair that both vary and can be trusted, and
    // writes the sums over whatever was there; marks those that both vary and cannot be trusted.
    virtual void add(const Tile&, int64_t first, int64_t last, double* to,
                     std::vector<Mark>& marks) const = 0;
};

inline void clear(double* sums, const Tile& tile, int quantities) {
    for (int q = 0; q < quantities; ++q)
        std::fill(sums + q * ENTRIES, sums + q * ENTRIES + tile.rows * TILE, 0.0);
}

// Calls task(state, k) for all k below count on some threads, each with a state of its own that
// make() gives; rethrows what one of them threw. When it returns, its threads have ended. A thread
// that waits sleeps, and takes no core from the others.
template <class Make, class Task>
void spread(int64_t count, int threads, const Make& make, const Task& task) {
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex guard;
    std::condition_variable ended;
    int64_t running = 0;
    Watch* const watch = duty.watch;
    const auto work = [&] {
        try {
            auto state = make();
            for (int64_t k; (k = next++) < count;) task(state, k);
        } catch (...) {
            std::lock_guard<std::mutex> hold(guard);
            failure = std::current_exception();
            next = count;
        }
    };
    const auto other = [&] {
        const OnDuty on_duty(watch, false);
        work();
        std::lock_guard<std::mutex> hold(guard);
        if (--running == 0) ended.notify_one();
    };
    std::vector<std::thread> others;
    for (int64_t k = 1; k < std::min<int64_t>(threads, count); ++k) {
        std::lock_guard<std::mutex> hold(guard);
        try {
            others.emplace_back(other);
            ++running;
        } catch (const std::exception&) {
            break;  // No more threads to be had: those that there are do the work.
        }
    }
    work();
    if (!others.empty()) {
        // What wakes this thread, other than the end, is the time to ask whether to go on.
        std::unique_lock<std::mutex> hold(guard);
        while (!ended.wait_for(hold, Watch::PERIOD, [&] { return running == 0; }))
            if (watch != nullptr) watch->look();
    }
    for (auto& thread : others) thread.join();
    if (failure) std::rethrow_exception(failure);
    if (watch != nullptr && watch->stopped()) throw Stopped();
}

template <class Task>
void spread(int64_t count, int threads, const Task& task) {
    struct None {};
    spread(count, threads, [] { return None(); }, [&](None, int64_t k) { task(k); });
}

// Marks, and numbers of pairs that are set aside with them, in the order of the tiles.
struct Found {
    std::vector<Mark> marks;
    std::vector<Mark> aside;      // pairs with marks; `trial` is the number of trials
                                  // in which both nodes vary
    std::vector<double> partial;  // their atoms, summed over trials
};

inline Found joined(std::vector<Found>& parts) {
    Found all;
    for (auto& part : parts) {
        all.marks.insert(all.marks.end(), part.marks.begin(), part.marks.end());
        all.aside.insert(all.aside.end(), part.aside.begin(), part.aside.end());
        all.partial.insert(all.partial.end(), part.partial.begin(), part.partial.end());
        part = Found();
    }
    return all;
}

// Atoms asked for as integer combinations of quantities.
class Combination {
   public:
    const int names;
    const int64_t* const mirror;  // the name that exchange of the nodes gives

    // `weights` (names, quantities).
    Combination(int names, int quantities, const double* weights, const int64_t* mirror)
        : names(names), mirror(mirror), quantities_(quantities) {
        for (int n = 0; n < names; ++n) {
            for (int q = 0; q < quantities; ++q)
                if (const double weight = weights[n * quantities + q]) terms_.push_back({q, weight});
            ends_.push_back(int(terms_.size()));
        }
    }

    // Turns quantities of a row of a tile into atoms, in place, those of columns from ... end - 1 and
    // whole vectors around them.
    void of_row(double* row, int from, int end) const {
        constexpr int MANY = 4;
        int j = from / DOUBLES * DOUBLES;
        for (; j + MANY * DOUBLES <= end; j += MANY * DOUBLES) of_vectors<MANY>(row + j);
        for (; j < end; j += DOUBLES) of_vectors<1>(row + j);
    }

   private:
    struct Term {
        int quantity;
        double weight;
    };

    template <int COUNT>
    void of_vectors(double* at) const {
        Doubles all[QUANTITIES][COUNT];
        for (int q = 0; q < quantities_; ++q)
#pragma GCC unroll 4
            for (int c = 0; c < COUNT; ++c)
                all[q][c] = load<Doubles>(at + q * ENTRIES + c * DOUBLES);
        const Term* term = terms_.data();
        for (int n = 0; n < names; ++n) {
            Doubles atom[COUNT]{};
            for (const Term* const end = terms_.data() + ends_[n]; term < end; ++term)
#pragma GCC unroll 4
                for (int c = 0; c < COUNT; ++c) atom[c] += term->weight * all[term->quantity][c];
#pragma GCC unroll 4
            for (int c = 0; c < COUNT; ++c) store(at + n * ENTRIES + c * DOUBLES, atom[c]);
        }
    }

    const int quantities_;
    std::vector<Term> terms_;  // by name
    std::vector<int> ends_;    // of the terms of each name
};

// What a thread takes from one tile to the next. It is not cleared: that took longer than the
// sums of a trial.
struct Workspace {
    static constexpr int LINE = 64 / sizeof(double);
    const Numbers memory;
    double* const tile;                  // quantities and scratch, or atoms; begins a line of the cache
    std::vector<char> marked;            // by row and column of a tile
    alignas(64) double known[TILE];      // of a row: numbers of trials that its means are of
    alignas(64) double lines[PANEL][TILE];

    Workspace(const Sum& sum, const Combination& combination)
        : memory(numbers(size(sum, combination) + LINE)),
          tile(memory.get() + -(reinterpret_cast<uintptr_t>(memory.get()) / sizeof(double)) % LINE),
          marked(TILE * TILE) {
#ifdef PHIID_PROOF
        std::fill(tile, tile + size(sum, combination), std::numeric_limits<double>::quiet_NaN());
#endif
    }

   private:
    static int64_t size(const Sum& sum, const Combination& combination) {
        return std::max(sum.quantities() * ENTRIES + sum.scratch(),
                        int64_t(combination.names) * ENTRIES);
    }
};

// Rows and columns of the matrix of all pairs, mirrored by bindings.Area: two ranges of nodes that
// share none, or twice the same one, whose pairs lie above its diagonal. A strip of such a triangle
// has its first rows and all its columns.
struct Area {
    int64_t row, row_end, column, column_end;
    int64_t triangle;

    int64_t rows() const { return row_end - row; }
    int64_t columns() const { return column_end - column; }
    // First column of the tiles in the rows from `i` on.
    int64_t first_column(int64_t i) const { return triangle ? std::max(i, column) : column; }
};

// Calls body(from, count) for stretches of nodes in up to TILE / PANEL panels. All but the first begin
// a panel: there blocks of rows and vectors of columns are whole.
template <class Body>
void in_tiles(int64_t first, int64_t end, const Body& body) {
    for (int64_t from = first; from < end;) {
        const int64_t to = std::min(from / PANEL * PANEL + TILE, end);
        body(from, int(to - from));
        from = to;
    }
}

inline std::vector<Tile> tiles_of(const Area& area) {
    std::vector<Tile> all;
    in_tiles(area.row, area.row_end, [&](int64_t i, int rows) {
        in_tiles(area.first_column(i), area.column_end,
                 [&](int64_t j, int columns) { all.push_back({i, j, rows, columns}); });
    });
    return all;
}

}  // namespace phiid
