// All pairs in tiles, spread over threads. What a tile adds is a `Sum`; what becomes of it is
// written here: matrices of all pairs, or sums over the pairs of each node.
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
#include <mutex>
#include <thread>
#include <vector>

#include "watch.h"

namespace phiid {

constexpr int TILE = 64;  // rows and columns; the sums of 16 quantities take 512 KB
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
    // Adds trials `first` to `last` - 1 of every pair that both vary and can be trusted; marks
    // those that both vary and cannot.
    virtual void add(const Tile&, int64_t first, int64_t last, double* to,
                     std::vector<Mark>& marks) const = 0;
};

inline void clear(double* sums, const Tile& tile, int quantities) {
    for (int q = 0; q < quantities; ++q)
        std::fill(sums + q * ENTRIES, sums + q * ENTRIES + tile.rows * TILE, 0.0);
}

// Calls task(k) for all k below count on some threads; rethrows what one of them threw. When it
// returns, its threads have ended. A thread that waits sleeps, and takes no core from the others.
template <class Task>
void spread(int64_t count, int threads, const Task& task) {
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
    std::mutex guard;
    std::condition_variable ended;
    int64_t running = 0;
    Watch* const watch = duty.watch;
    const auto work = [&] {
        try {
            for (int64_t k; (k = next++) < count;) task(k);
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
struct Combination {
    int names;
    const double* weights;  // (names, quantities)
    const int64_t* mirror;  // the name that exchange of the nodes gives

    // Atoms of one row of a tile, (names, TILE).
    void row(const Sum& sum, const double* sums, int i, int columns, double* atoms) const {
        const int quantities = sum.quantities();
        std::fill(atoms, atoms + names * TILE, 0.0);
        for (int n = 0; n < names; ++n)
            for (int q = 0; q < quantities; ++q) {
                const double weight = weights[n * quantities + q];
                const double* from = sums + q * ENTRIES + i * TILE;
                if (weight != 0)
                    for (int j = 0; j < columns; ++j) atoms[n * TILE + j] += weight * from[j];
            }
    }
};

inline std::vector<Tile> tiles_of(int64_t nodes) {
    std::vector<Tile> all;
    for (int64_t i = 0; i < nodes; i += TILE)
        for (int64_t j = i; j < nodes; j += TILE)
            all.push_back({i, j, int(std::min<int64_t>(TILE, nodes - i)),
                           int(std::min<int64_t>(TILE, nodes - j))});
    return all;
}

// Writes (groups, nodes, nodes) for each name; a group is a trial, or all of them.
template <class Number>
Found all_pairs(const Sum& sum, int64_t trials, int64_t nodes, bool per_trial,
                const Combination& combination, Number* const* out, int threads) {
    const std::vector<Tile> tiles = tiles_of(nodes);
    // Trials apart are tasks apart, some at a time.
    const int64_t depth = per_trial ? 16 : trials, stacks = (trials + depth - 1) / depth;
    std::vector<Found> parts(tiles.size() * stacks);
    spread(int64_t(parts.size()), threads, [&](int64_t task) {
        const Tile& tile = tiles[task / stacks];
        const int64_t first = task % stacks * depth, last = std::min(first + depth, trials);
        std::vector<double> sums(sum.quantities() * ENTRIES), atoms(combination.names * TILE);
        for (int64_t k = first; k < last; k += per_trial ? 1 : depth) {
            clear(sums.data(), tile, sum.quantities());
            sum.add(tile, k, per_trial ? k + 1 : last, sums.data(), parts[task].marks);
            const int64_t origin = per_trial ? k * nodes * nodes : 0;
            for (int i = 0; i < tile.rows; ++i) {
                combination.row(sum, sums.data(), i, tile.columns, atoms.data());
                const int64_t row = tile.row + i;
                for (int n = 0; n < combination.names; ++n) {
                    Number* upper = out[n] + origin + row * nodes + tile.column;
                    Number* lower = out[combination.mirror[n]] + origin + tile.column * nodes + row;
                    for (int j = tile.diagonal() ? i + 1 : 0; j < tile.columns; ++j) {
                        const Number atom = Number(atoms[n * TILE + j]);
                        upper[j] = atom;
                        lower[j * nodes] = atom;
                    }
                }
            }
        }
    });
    return joined(parts);
}

// Sums over the pairs of each node, of means over trials or of each trial; see nodes.Nodes.
struct NodeSums {
    double* sums;     // (names, groups, nodes), a group as above
    double* shares;   // (groups, nodes) and so on
    int64_t* pairs;
    int64_t* shared;
};

// Numbers of trials in which both nodes of a pair vary.
class Varying {
   public:
    Varying(const unsigned char* constant, int64_t trials, int64_t nodes)
        : constant_(constant), trials_(trials), nodes_(nodes), always_(nodes, 1) {
        for (int64_t k = 0; k < trials; ++k)
            for (int64_t i = 0; i < nodes; ++i)
                if (constant[k * nodes + i]) always_[i] = 0;
    }
    int64_t both(int64_t i, int64_t j, int64_t first, int64_t last) const {
        if (always_[i] && always_[j]) return last - first;
        int64_t count = 0;
        for (int64_t k = first; k < last; ++k)
            count += !constant_[k * nodes_ + i] && !constant_[k * nodes_ + j];
        return count;
    }

   private:
    const unsigned char* constant_;
    int64_t trials_, nodes_;
    std::vector<char> always_;
};

// The pairs of rows `from` to `to` - 1 with all nodes after them, added to `out`. Pairs with marks
// are left out, and set aside where trials are averaged. `rtr` and `sts` are places among the
// names, or below zero.
inline Found node_sums(const Sum& sum, const unsigned char* constant, int64_t trials, int64_t nodes,
                       bool per_trial, int64_t from, int64_t to, const Combination& combination,
                       int rtr, int sts, const NodeSums& out, int threads) {
    const int names = combination.names;
    const int64_t groups = per_trial ? trials : 1, height = to - from;
    const Varying varying(constant, trials, nodes);
    // A task takes some columns of all rows. No other adds to these as columns; what it adds to
    // the rows is kept apart, and so tasks are few.
    const int64_t width = std::max<int64_t>(1, (nodes - from) / TILE / 64) * TILE;
    const int64_t tasks = (nodes - from + width - 1) / width;
    struct Rows {
        std::vector<double> sums, shares;
        std::vector<int64_t> pairs, shared;
    };
    std::vector<Rows> of_task(tasks);
    std::vector<Found> parts(tasks);

    spread(tasks, threads, [&](int64_t task) {
        std::vector<double> sums(sum.quantities() * ENTRIES), atoms(names * TILE);
        std::vector<char> marked(ENTRIES);
        Found& found = parts[task];
        Rows& rows = of_task[task];
        rows.sums.resize(names * groups * height);
        rows.shares.resize(groups * height);
        rows.pairs.resize(groups * height);
        rows.shared.resize(groups * height);
        const int64_t start = from + task * width, end = std::min(start + width, nodes);

        const auto add_row = [&](const Tile& tile, int64_t group, int i) {
            const int64_t first = per_trial ? group : 0, last = per_trial ? group + 1 : trials;
            const int64_t row = tile.row + i, in_rows = group * height + row - from;
            for (int j = tile.diagonal() ? i + 1 : 0; j < tile.columns; ++j) {
                const int64_t column = tile.column + j, in_columns = group * nodes + column;
                const int64_t known = varying.both(row, column, first, last);
                if (marked[i * TILE + j]) {
                    if (per_trial) continue;
                    found.aside.push_back({known, row, column});
                    for (int n = 0; n < names; ++n) found.partial.push_back(atoms[n * TILE + j]);
                    continue;
                }
                if (known == 0) continue;
                for (int n = 0; n < names; ++n) {
                    const double mean = atoms[n * TILE + j] / double(known);
                    rows.sums[n * groups * height + in_rows] += mean;
                    out.sums[combination.mirror[n] * groups * nodes + in_columns] += mean;
                }
                ++rows.pairs[in_rows];
                ++out.pairs[in_columns];
                if (rtr < 0 || sts < 0) continue;
                const double synergy = atoms[sts * TILE + j], both = synergy + atoms[rtr * TILE + j];
                if (both > 0) {
                    rows.shares[in_rows] += synergy / both;
                    out.shares[in_columns] += synergy / both;
                    ++rows.shared[in_rows];
                    ++out.shared[in_columns];
                }
            }
        };
        for (int64_t i = from; i < to; i += TILE)
            for (int64_t j = std::max(start, i); j < end; j += TILE) {
                const Tile tile{i, j, int(std::min<int64_t>(TILE, to - i)),
                                int(std::min<int64_t>(TILE, end - j))};
                for (int64_t group = 0; group < groups; ++group) {
                    const size_t before = found.marks.size();
                    clear(sums.data(), tile, sum.quantities());
                    sum.add(tile, per_trial ? group : 0, per_trial ? group + 1 : trials, sums.data(),
                            found.marks);
                    std::fill(marked.begin(), marked.end(), 0);
                    for (size_t m = before; m < found.marks.size(); ++m)
                        marked[(found.marks[m].row - i) * TILE + found.marks[m].column - j] = 1;
                    for (int r = 0; r < tile.rows; ++r) {
                        combination.row(sum, sums.data(), r, tile.columns, atoms.data());
                        add_row(tile, group, r);
                    }
                }
            }
    });

    for (const Rows& rows : of_task)
        for (int64_t group = 0; group < groups; ++group)
            for (int64_t i = 0; i < height; ++i) {
                const int64_t at = group * nodes + from + i, own = group * height + i;
                for (int n = 0; n < names; ++n)
                    out.sums[n * groups * nodes + at] += rows.sums[n * groups * height + own];
                out.shares[at] += rows.shares[own];
                out.pairs[at] += rows.pairs[own];
                out.shared[at] += rows.shared[own];
            }
    return joined(parts);
}

}  // namespace phiid
