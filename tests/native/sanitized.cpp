// Every estimator on odd shapes and degenerate nodes, in exactly sized arrays, by one thread and by
// three: a program of its own, so that a sanitizer sees all of it. What threads work in and what is
// written starts as NaN. Exit code 1 if the two differ, or if some of that comes out.

#define PHIID_PROOF
#include "host/host.cpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace {

struct Result {
    std::vector<std::vector<double>> atoms;
    std::vector<double> sums;
    std::vector<int64_t> marks;
    bool missing() const {
        const auto none = [](const std::vector<double>& values) {
            return std::any_of(values.begin(), values.end(), [](double v) { return v != v; });
        };
        return none(sums) || std::any_of(atoms.begin(), atoms.end(), none);
    }
    bool operator==(const Result& other) const {
        return atoms == other.atoms && sums == other.sums && marks == other.marks;
    }
};

void keep_marks(Result& result, Found* found) {
    std::vector<int64_t> marks(3 * synkern_marks(found, nullptr));
    synkern_marks(found, marks.data());
    result.marks.insert(result.marks.end(), marks.begin(), marks.end());
    std::vector<int64_t> aside(3 * synkern_aside(found, nullptr, nullptr));
    std::vector<double> partial(found->partial.size());
    synkern_aside(found, aside.data(), partial.data());
    result.sums.insert(result.sums.end(), partial.begin(), partial.end());
    synkern_free(found);
}

// Matrices that are finished; their NaN becomes a number, and what was not written NaN.
template <class Number, class Call>
void keep_finished(Result& result, int64_t names, int64_t entries, const Call& call) {
    constexpr Number UNWRITTEN = Number(-12345);
    std::vector<std::vector<Number>> matrices(names, std::vector<Number>(entries, UNWRITTEN));
    std::vector<Number*> out;
    for (auto& matrix : matrices) out.push_back(matrix.data());
    out.back() = nullptr;  // one that is not asked for
    keep_marks(result, call(out.data()));
    for (int64_t n = 0; n < names - 1; ++n) {
        result.atoms.emplace_back();
        for (const Number value : matrices[n])
            result.atoms.back().push_back(value == UNWRITTEN ? double(NAN)
                                          : value != value   ? -1
                                                             : double(value));
    }
}

// `block`: trials of a series that are made ready at a time; 0: all, before.
Result decompose(int64_t estimator, int64_t quantities, bool per_trial, bool paired, int64_t trials,
                 int64_t time, int64_t nodes, int64_t threads, int64_t block) {
    const int64_t tau = 2, samples = time - tau, panels = (nodes + PANEL - 1) / PANEL;
    std::mt19937_64 random(nodes);
    std::normal_distribution<double> normal;
    std::vector<double> series(trials * time * nodes);
    for (auto& value : series) value = normal(random);
    for (int64_t t = 0; t < time; ++t) {
        series[t * nodes] = 3;                                    // constant in trial 0
        double* last = &series[((trials - 1) * time + t) * nodes];
        last[nodes - 1] = last[0];                                // a duplicate
    }
    std::vector<double> values(trials * panels * samples * 2 * PANEL), own(trials * nodes);
    std::vector<unsigned char> constant(trials * nodes);
    const Area whole{0, nodes, 0, nodes, true};
    synkern_standardise(series.data(), trials, time, nodes, tau, &whole, values.data(), own.data(),
                        constant.data(), threads);
    // Of a rectangle alone: its panels are the same, and so is which nodes are constant.
    const Area corner{nodes / 2, nodes, 0, 1, false};
    std::vector<double> some(values.size()), own_of_some(own.size());
    std::vector<unsigned char> constant_again(constant.size());
    synkern_standardise(series.data(), trials, time, nodes, tau, &corner, some.data(),
                        own_of_some.data(), constant_again.data(), threads);
    if (constant_again != constant || !std::equal(some.begin(), some.begin() + samples * PANEL * 2,
                                                  values.begin()))
        std::abort();
    std::vector<double> taps(trials * panels * LINES * blocks_of(time, tau) * PANEL);
    std::vector<double> ends(trials * panels * ends_of(tau) * PANEL), magnified(own.size());
    if (paired) {
        synkern_pair_up(series.data(), trials, time, nodes, tau, &whole, taps.data(), ends.data(),
                        own.data(), magnified.data(), constant.data(), threads);
        if (constant != constant_again) std::abort();
        synkern_pair_up(series.data(), trials, time, nodes, tau, &corner, taps.data(), ends.data(),
                        own.data(), magnified.data(), constant_again.data(), threads);
        if (constant != constant_again) std::abort();
    }
    const int64_t words = (samples + 63) / 64;
    std::vector<unsigned long long> bits(trials * 3 * words * nodes);
    for (int64_t k = 0; k < trials; ++k)
        for (int64_t t = 0; t < samples; ++t)
            for (int64_t i = 0; i < nodes; ++i) {
                const bool future = series[(k * time + t + tau) * nodes + i] > 0;
                const bool past = series[(k * time + t) * nodes + i] > 0;
                const bool each[] = {future, past, future && past};
                for (int f = 0; f < 3; ++f)
                    bits[((k * 3 + f) * words + t / 64) * nodes + i] |=
                        (unsigned long long)each[f] << t % 64;
            }
    std::vector<double> table(samples + 1);
    for (int64_t n = 0; n <= samples; ++n) table[n] = 0.01 * double(n);
    const int64_t names = quantities == 2 ? 2 : 3;
    std::vector<double> weights(names * quantities);
    for (int64_t n = 0; n < names; ++n) weights[n * quantities + n] = 1;
    const std::vector<int64_t> mirror = quantities == 2 ? std::vector<int64_t>{0, 1}
                                                        : std::vector<int64_t>{0, 2, 1};
    Task task{};
    task.trials = trials, task.nodes = nodes, task.samples = samples, task.estimator = estimator;
    task.values = estimator >= DISCRETE_MMI ? static_cast<void*>(bits.data()) : values.data();
    task.own = own.data(), task.constant = constant.data(), task.table = table.data();
    if (paired) {
        task.values = nullptr, task.taps = taps.data(), task.ends = ends.data();
        task.magnified = magnified.data(), task.blocks = blocks_of(time, tau), task.tau = tau;
    }
    if (block != 0) {
        const auto missing = [](std::vector<double>& values, int64_t size) {
            values.assign(size, double(NAN));
        };
        missing(taps, block * panels * LINES * blocks_of(time, tau) * PANEL);
        missing(ends, block * panels * ends_of(tau) * PANEL);
        missing(own, trials * nodes);
        std::fill(magnified.begin(), magnified.end(), 1);
        std::fill(constant.begin(), constant.end(), 2);
        task.taps = taps.data(), task.ends = ends.data();
        task.series = series.data(), task.block = block;
    }
    task.limit = 1e-6, task.names = names, task.quantities = quantities;
    task.weights = weights.data(), task.mirror = mirror.data();
    task.per_trial = per_trial, task.threads = threads;

    Result result;
    const int64_t groups = per_trial ? trials : 1, half = nodes / 2;
    std::vector<double> sums((names + 3) * groups * nodes);
    // All pairs; rows before columns and after, that begin no panel.
    for (const Area& area : {Area{0, nodes, 0, nodes, true}, Area{0, half, half, nodes, false},
                             Area{half, nodes, half / 2, half, false}}) {
        std::vector<double*> out;
        const size_t before = result.atoms.size();
        for (int64_t n = 0; n < names; ++n)
            result.atoms.emplace_back(groups * area.rows() * area.columns(), double(NAN));
        for (size_t n = before; n < result.atoms.size(); ++n) out.push_back(result.atoms[n].data());
        const int64_t entries = groups * area.rows() * area.columns();
        task.finished = 0;
        keep_marks(result, synkern_matrices_f64(&task, &area, out.data()));
        task.finished = 1;
        keep_finished<double>(result, names, entries, [&](double* const* to) {
            return synkern_matrices_f64(&task, &area, to);
        });
        keep_finished<float>(result, names, entries, [&](float* const* to) {
            return synkern_matrices_f32(&task, &area, to);
        });
        in_tiles(area.row, area.row_end, [&](int64_t row, int rows) {
            const int64_t column = area.triangle ? row : area.column;
            const Area strip{row, row + rows, column, area.column_end, area.triangle};
            keep_marks(result, synkern_node_sums(&task, &strip, 0, 1, sums.data()));
        });
    }
    result.sums.insert(result.sums.end(), sums.begin(), sums.end());
    return result;
}

// Atoms at every sample, and all local quantities; what is left to the formulas becomes a number.
std::vector<double> at_samples(bool discrete, bool ccs, bool all, bool fit, int64_t trials,
                               int64_t time, int64_t nodes, int64_t threads) {
    const int64_t tau = 2, samples = time - tau, points = fit ? samples / 2 + 1 : samples;
    std::mt19937_64 random(time);
    std::normal_distribution<double> normal;
    std::vector<double> series(trials * time * nodes);
    for (auto& value : series) value = normal(random);
    for (int64_t t = 0; t < time; ++t) series[t * nodes] = 3;
    if (nodes > 2)
        for (int64_t t = 0; t < time; ++t) series[t * nodes + 1] = series[t * nodes + 2];
    std::vector<int64_t> pairs;
    for (int64_t i = 0; i < nodes; ++i)
        for (int64_t j = 0; j < nodes; j += 2)
            if (i != j) pairs.insert(pairs.end(), {i, j});
    const int64_t step = sizeof(double);
    pointwise::Points p{};
    p.groups = trials, p.nodes = nodes, p.samples = samples, p.points = points;
    p.pairs = int64_t(pairs.size()) / 2, p.discrete = discrete, p.ccs = ccs, p.all = all;
    p.fitted = {series.data(), time * nodes * step, tau * nodes * step, step, nodes * step};
    if (fit) p.evaluated = p.fitted;
    std::vector<double> out(p.groups * p.pairs * p.rows() * points, double(NAN));
    std::vector<int64_t> outcome(p.groups * p.pairs, 77);
    p.pair = pairs.data(), p.out = out.data(), p.outcome = outcome.data(), p.threads = threads;
    if (synkern_pointwise(&p) != 0 || p.undecided) std::abort();
    const int64_t each = p.rows() * points;
    for (size_t k = 0; k < outcome.size(); ++k)
        if (!discrete && outcome[k] != pointwise::ORDINARY)
            std::fill(out.begin() + k * each, out.begin() + (k + 1) * each, double(outcome[k]));
    return out;
}

// One pair, whose series are not aligned and whose output has no room to spare.
std::vector<double> one_pair(bool discrete, bool ccs, int64_t time) {
    const int64_t tau = 1, step = 2 * sizeof(double);
    std::vector<char> memory(2 * time * step + 1);
    std::mt19937_64 random(time);
    std::normal_distribution<double> normal;
    for (int64_t t = 0; t < 2 * time; ++t) {
        const double value = normal(random);
        std::memcpy(memory.data() + 1 + t * step, &value, sizeof value);
    }
    std::vector<double> out(pointwise::ROWS_OF_ALL * (time - tau), double(NAN));
    const auto first = [&](int64_t t) {
        return reinterpret_cast<const double*>(memory.data() + 1 + t * step);
    };
    // The second of them backwards.
    const pointwise::Pair pair{first(0), first(2 * time - 1), step, -step, time, tau, discrete, ccs,
                               0x1p-52, out.data()};
    const int said = synkern_pair(&pair);
    if (said == 1 || (said == 2 && time > 30)) std::abort();
    if (said == 2) std::fill(out.begin(), out.end(), 0);
    return out;
}

bool same_at_samples() {
    const auto missing = [](const std::vector<double>& values) {
        return std::any_of(values.begin(), values.end(), [](double v) { return v != v; });
    };
    for (int options = 0; options < 16; ++options) {
        const bool discrete = options & 1, ccs = options & 2, all = options & 4, fit = options & 8;
        for (const auto& [trials, nodes] : {std::pair(1, 2), std::pair(3, 5)})
            for (const int64_t time : {7, 8, 9, 10, 11, 14, 17, 18, 33, 42}) {
                const auto run = [&](int64_t threads) {
                    return at_samples(discrete, ccs, all, fit, trials, time, nodes, threads);
                };
                const std::vector<double> one = run(1);
                if (missing(one) || one != run(3)) return false;
                if (missing(one_pair(discrete, ccs, time))) return false;
            }
    }
    return !missing(one_pair(false, true, 2000)) && !missing(one_pair(true, false, 2000));
}

// What stands in lanes beyond the last node is anything, and its logarithm is taken with the rest.
template <class Vector>
bool ln_takes_any_number() {
    bool fine = true;
    for (const volatile double number : {0.0, -1e-300, -1e-3, -1.0, -1e30, 1e-310, double(INFINITY),
                                         -double(INFINITY), double(NAN)}) {
        const Vector found = ln(constant<Vector>(number));
        fine = fine && found[0] != found[0];
    }
    return fine;
}

}  // namespace

int main() {
    if (!ln_takes_any_number<Doubles>() || !ln_takes_any_number<Floats>()) {
        std::printf("ln: a number for what has no logarithm\n");
        return 1;
    }
    if (!same_at_samples()) {
        std::printf("at samples: threads change the result, or what was not written is read\n");
        return 1;
    }
    const int64_t shapes[][3] = {{1, 9, 2}, {6, 37, 5}, {13, 37, 20}, {5, 70, 67}, {1, 300, 131}};
    for (const auto& [trials, time, nodes] : shapes)
        for (int64_t estimator = GAUSSIAN_MMI; estimator <= DISCRETE_CCS; ++estimator)
            for (const int64_t quantities : {2, 16})
                for (const bool per_trial : {false, true})
                    for (const bool paired : {false, true}) {
                        if ((quantities == 2 || paired) && estimator != GAUSSIAN_MMI) continue;
                        const auto run = [&](int64_t threads, int64_t block) {
                            return decompose(estimator, quantities, per_trial, paired, trials, time,
                                             nodes, threads, block);
                        };
                        const Result one = run(1, 0);
                        const bool blocks = paired && !per_trial;
                        const bool same = one == run(3, 0) &&
                                          (!blocks || (one == run(1, 8) && one == run(3, 8))) &&
                                          (!blocks || quantities == 16 || one == run(3, 4));
                        if (same && !one.missing()) continue;
                        std::printf("estimator %d, %d nodes: %s\n", int(estimator), int(nodes),
                                    one.missing() ? "what was not written is read"
                                                  : "threads or blocks change the result");
                        return 1;
                    }
    return 0;
}
