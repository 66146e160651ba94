// Pairs in tiles, spread over threads: all of them, or a rectangle of their matrix. What a tile adds
// is a `Sum`; what becomes of it is written here: matrices of pairs, or sums over the pairs of each
// node.
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

#include "watch.h"

namespace phiid {

constexpr int PANEL = 8;  // nodes that lie side by side in memory
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

// What a thread takes from one tile to the next. It is not cleared: that took longer than the
// sums of a trial.
struct Workspace {
    static constexpr int LINE = 64 / sizeof(double);
    const Numbers memory;
    double* const sums;   // quantities of a tile; begins a line of the cache
    double* const atoms;  // (names, TILE)

    Workspace(const Sum& sum, const Combination& combination)
        : memory(numbers(sum.quantities() * ENTRIES + combination.names * TILE + LINE)),
          sums(memory.get() + -(reinterpret_cast<uintptr_t>(memory.get()) / sizeof(double)) % LINE),
          atoms(sums + sum.quantities() * ENTRIES) {
#ifdef PHIID_POISON
        std::fill(sums, atoms + combination.names * TILE, std::numeric_limits<double>::quiet_NaN());
#endif
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

// Writes (groups, rows, columns) for each name; a group is a trial, or all of them. A triangle is
// written with its mirror image.
template <class Number>
Found matrices(const Sum& sum, int64_t trials, bool per_trial, const Area& area,
               const Combination& combination, Number* const* out, int threads) {
    const std::vector<Tile> tiles = tiles_of(area);
    const int64_t width = area.columns();
    // Trials apart are tasks apart, some at a time.
    const int64_t depth = per_trial ? 16 : trials, stacks = (trials + depth - 1) / depth;
    std::vector<Found> parts(tiles.size() * stacks);
    const auto make = [&] { return Workspace(sum, combination); };
    spread(int64_t(parts.size()), threads, make, [&](const Workspace& space, int64_t task) {
        const Tile& tile = tiles[task / stacks];
        const int64_t first = task % stacks * depth, last = std::min(first + depth, trials);
        const int64_t column = tile.column - area.column;
        for (int64_t k = first; k < last; k += per_trial ? 1 : depth) {
            sum.add(tile, k, per_trial ? k + 1 : last, space.sums, parts[task].marks);
            const int64_t origin = per_trial ? k * area.rows() * width : 0;
            for (int i = 0; i < tile.rows; ++i) {
                combination.row(sum, space.sums, i, tile.columns, space.atoms);
                const int64_t row = tile.row - area.row + i;
                for (int n = 0; n < combination.names; ++n) {
                    const double* from = space.atoms + n * TILE;
                    Number* to = out[n] + origin + row * width + column;
                    if (!area.triangle) {
                        for (int j = 0; j < tile.columns; ++j) to[j] = Number(from[j]);
                        continue;
                    }
                    Number* mirror = out[combination.mirror[n]] + origin + column * width + row;
                    for (int j = tile.diagonal() ? i + 1 : 0; j < tile.columns; ++j) {
                        const Number atom = Number(from[j]);
                        to[j] = atom;
                        mirror[j * width] = atom;
                    }
                }
            }
        }
    });
    return joined(parts);
}

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

// Sums over the pairs of each node, of means over trials or of each trial: adds an area's pairs to
// `out`, (names + 3, groups, nodes). After the atoms come the number of pairs with a value, the sum of
// sts / (sts + rtr) and the number of pairs with sts + rtr > 0. Pairs with marks are left out, and
// set aside where trials are averaged. `rtr` and `sts` are places among the names, or below zero.
class NodeSums {
   public:
    NodeSums(const Sum& sum, const unsigned char* constant, int64_t trials, int64_t nodes,
             bool per_trial, const Area& area, const Combination& combination, int rtr, int sts,
             double* out)
        : sum_(sum), varying_(constant, trials, nodes), trials_(trials), nodes_(nodes),
          groups_(per_trial ? trials : 1), per_trial_(per_trial), area_(area),
          combination_(combination), rtr_(rtr), sts_(sts), out_(out) {}

    Found add(int threads) {
        // A task takes some columns of all rows. No other adds to these as columns; what it adds to
        // the rows is kept apart, and so tasks are few.
        const int64_t begin = area_.column / PANEL * PANEL, all = area_.column_end - begin;
        const int64_t width = std::max<int64_t>(1, all / TILE / 64) * TILE;
        const int64_t tasks = (all + width - 1) / width;
        std::vector<std::vector<double>> of_rows(tasks);
        std::vector<Found> parts(tasks);
        const auto make = [&] { return NodeSpace{{sum_, combination_}, std::vector<char>(ENTRIES)}; };
        spread(tasks, threads, make, [&](NodeSpace& space, int64_t task) {
            of_rows[task].resize(quantities() * groups_ * area_.rows());
            Part part{std::max(begin + task * width, area_.column),
                      std::min(begin + (task + 1) * width, area_.column_end),
                      of_rows[task].data(), parts[task]};
            add_columns(space, part);
        });
        for (const auto& rows : of_rows)
            for (int64_t line = 0; line < quantities() * groups_; ++line)
                for (int64_t i = 0; i < area_.rows(); ++i)
                    out_[line * nodes_ + area_.row + i] += rows[line * area_.rows() + i];
        return joined(parts);
    }

   private:
    struct Part {
        int64_t column, column_end;
        double* rows;  // (names + 3, groups, rows)
        Found& found;
    };

    struct NodeSpace : Workspace {
        std::vector<char> marked;  // by row and column of a tile
    };

    int64_t quantities() const { return combination_.names + 3; }

    void add_columns(NodeSpace& space, const Part& part) const {
        auto& marked = space.marked;
        const auto add_tile = [&](const Tile& tile) {
            for (int64_t group = 0; group < groups_; ++group) {
                auto& marks = part.found.marks;
                const size_t before = marks.size();
                sum_.add(tile, per_trial_ ? group : 0, per_trial_ ? group + 1 : trials_,
                         space.sums, marks);
                std::fill(marked.begin(), marked.end(), 0);
                for (size_t m = before; m < marks.size(); ++m)
                    marked[(marks[m].row - tile.row) * TILE + marks[m].column - tile.column] = 1;
                for (int i = 0; i < tile.rows; ++i) {
                    combination_.row(sum_, space.sums, i, tile.columns, space.atoms);
                    add_row(part, tile, group, i, space.atoms, marked.data() + i * TILE);
                }
            }
        };
        in_tiles(area_.row, area_.row_end, [&](int64_t i, int rows) {
            in_tiles(std::max(part.column, area_.first_column(i)), part.column_end,
                     [&](int64_t j, int columns) { add_tile({i, j, rows, columns}); });
        });
    }

    void add_row(const Part& part, const Tile& tile, int64_t group, int i, const double* atoms,
                 const char* marked) const {
        const int names = combination_.names;
        const int64_t first = per_trial_ ? group : 0, last = per_trial_ ? group + 1 : trials_;
        const int64_t row = tile.row + i, height = area_.rows();
        double* const in_rows = part.rows + group * height + row - area_.row;
        for (int j = tile.diagonal() ? i + 1 : 0; j < tile.columns; ++j) {
            const int64_t column = tile.column + j;
            const int64_t known = varying_.both(row, column, first, last);
            if (marked[j]) {
                if (per_trial_) continue;
                part.found.aside.push_back({known, row, column});
                for (int n = 0; n < names; ++n) part.found.partial.push_back(atoms[n * TILE + j]);
                continue;
            }
            if (known == 0) continue;
            double* const in_columns = out_ + group * nodes_ + column;
            const auto add = [&](int64_t own, int64_t mirror, double value) {
                in_rows[own * groups_ * height] += value;
                in_columns[mirror * groups_ * nodes_] += value;
            };
            for (int n = 0; n < names; ++n)
                add(n, combination_.mirror[n], atoms[n * TILE + j] / double(known));
            add(names, names, 1);
            if (rtr_ < 0 || sts_ < 0) continue;
            const double synergy = atoms[sts_ * TILE + j];
            const double both = synergy + atoms[rtr_ * TILE + j];
            if (both > 0) {
                add(names + 1, names + 1, synergy / both);
                add(names + 2, names + 2, 1);
            }
        }
    }

    const Sum& sum_;
    const Varying varying_;
    const int64_t trials_, nodes_, groups_;
    const bool per_trial_;
    const Area area_;
    const Combination combination_;
    const int rtr_, sts_;
    double* const out_;
};

}  // namespace phiid
