// The kernels that are launched: each joins an estimator, a source of correlations and an output.
//
// Grids and blocks have one dimension. A block has one tile of pairs and one chunk of trials:
//     grid    chunks * tiles * (tiles + 1) / 2             matrices of all pairs,
//             chunks * tiles down * tiles across           matrices of a rectangle,
//             chunks * band_tiles * (tiles - band)         node sums of all pairs,
//             chunks * band_tiles * tiles across           node sums of a rectangle,
//     block   THREADS of the tile's shape (source.py names both numbers for every kernel),
// with tiles = ceil(nodes / TILE), down and across of the rows and columns of the rectangle alone,
// and chunks = ceil(trials / chunk_trials).
// Arrays are C-contiguous, whole numbers long long, others double. In all of them:
//
//     past, future    (trials, nodes, samples) double: unit vectors as `formulas.unit_vectors` has
//                     them, zero for constant nodes
//     xy, ab, xb      (trials, rows, columns) double: correlations of rows with columns, past with
//                     past, future with future, past with future; of all pairs every node is both
//     ya              (trials, columns, rows) double: past of columns with future of rows; of all
//                     pairs the same as xb
//     words           (trials, 3, words, nodes) 64-bit words, ceil(samples / 64) of them: bits of
//                     the future, the past and both; those beyond the last sample are zero
//     table           (samples + 1,) double by count: each state's share of the entropy (MMI) or
//                     its surprisal (CCS), bits; `discrete.tables_of`
//     own             (trials, nodes) double: correlation of each node's past with its future
//     constant        (trials, nodes) bytes, not 0 where a node is constant
//     weights         (names, quantities) double: atoms as combinations of quantities, which are
//                     rtr and sts (Two) or the 16 cumulative ones in the order of ATOMS (All)
//     mirror          (names,) position of the atom that exchange of x and y gives; matrices of a
//                     rectangle do not read it
//     marked          (capacity,) written from the start, in any order: (trial * nodes + row) *
//                     nodes + column of what is not trusted, row < column but in a rectangle,
//                     trial counted from first_trial on. Node sums list a pair once, with the first
//                     trial of its chunk
//     count           (1,) raised by the number of marks, also of those without room; zero before
//     chunk_trials    trials that are summed: 1 keeps them apart
//     limit           smallest conditional variance trusted in arithmetic of type Real, of double
//                     in CCS
//     limit_double    the same in double, for what Real = float does not trust; otherwise unused
//     alone           not 0: as if nodes did not influence each other (`PersistenceMMI`)
//     row, rows       the first node of a rectangle's rows, which are x, and their number
//     column, columns    the same of its columns, y; no node is both. All pairs do not read them
//
// Matrices: `out`, (names, chunks, rows, columns) Real, is written whole, and once: sums over the
// trials of a chunk of what is trusted, 0 elsewhere and on the diagonal. Nats; discrete: bits.
//
// Node sums: of every pair that varies in some trial and has no mark, the mean over trials. A band
// is some rows of tiles, `band` the first of them.
//     by_row          (names + 3, chunks, tiles across, band_tiles * TILE) double and
//     by_column       (names + 3, chunks, band_tiles, tiles across * TILE) double: sums of each
//                     tile along its rows and columns. After the atoms: pairs, shares
//                     sts / (sts + rtr), pairs that have one. What node_totals does not read is not
//                     written
//     rtr, sts        places of the two among the names; -1: no shares


#include "ccs.cuh"
#include "discrete.cuh"
#include "interior.cuh"
#include "lags.cuh"
#include "mmi.cuh"
#include "unit_vectors.cuh"

namespace phiid {

// ---- What the others read ------------------------------------------------------------------------

// Unit vectors of a series, (trials, time, nodes) Value, float or double, finite. All of past,
// future, own and constant is written; samples = time - tau.
// Grid: trials * ceil(nodes / 32), block: 256.
template <class Value>
PHIID_KERNEL(Standardising::THREADS)
unit_vectors(const Value* series, double* past, double* future, double* own,
             unsigned char* constant, Index time, Index nodes, Index tau) {
    PHIID_SHARED(Standardising::Memory, memory);
    standardise(series, past, future, own, constant, time, nodes, tau, memory);
}

// One series of every node and its ends (see lags.cuh) in place of past, future and own: lag 1, at
// least 3 points in time. interior: (trials, nodes, padded(time - 2) + 2), ends: (trials, nodes, 6),
// all of them written, and of constant.
// Grid: trials * ceil(nodes / 32), block: 256.
template <class Value>
PHIID_KERNEL(Standardising::THREADS)
one_series(const Value* series, double* interior, double* ends, unsigned char* constant, Index time,
           Index nodes) {
    PHIID_SHARED(Standardising::Memory, memory);
    take_ends_off(series, interior, ends, constant, time, nodes, memory);
}

// ---- Matrices -----------------------------------------------------------------------------------

// Gaussian MMI. Real: float or double; Atoms: Two or All; Pairs: AllPairs or Rectangle.
template <class Real, class Atoms, class Pairs>
PHIID_KERNEL(Atoms::THREADS)
mmi_series(const double* past, const double* future, const double* own,
           const unsigned char* constant, const double* weights, const Index* mirror, Real* out,
           Index* marked, Count* count, Index trials, Index nodes, Index samples, Index names,
           Index chunk_trials, Index first_trial, Index capacity, double limit, double limit_double,
           Index alone, Index row, Index rows, Index column, Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, marked, count,
                           trials, nodes, names, chunk_trials, first_trial, capacity};
    const Mmi<Real, Atoms, Series<Atoms>> estimator{
        {{past, future, nodes, samples}, own}, limit, limit_double, alone != 0};
    decompose(estimator, Matrices<Real, Atoms>{out}, task);
}

// The same by what one_series has made of a series; samples = time - 1. Real is the type of the
// output alone. Dynamic shared memory: BYTES of the shape.
template <class Real, class Atoms, class Pairs>
PHIID_KERNEL(Lags<Atoms>::THREADS, Lags<Atoms>::RESIDENT)
mmi_lags(const double* interior, const double* ends, const unsigned char* constant,
         const double* weights, const Index* mirror, Real* out, Index* marked, Count* count,
         Index trials, Index nodes, Index samples, Index names, Index chunk_trials,
         Index first_trial, Index capacity, double limit, Index row, Index rows, Index column,
         Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, marked, count,
                           trials, nodes, names, chunk_trials, first_trial, capacity};
    decompose_in_dynamic(Lags<Atoms>::of(interior, ends, nodes, samples, limit),
                         Matrices<Real, typename Atoms::Lagged>{out}, task);
}

template <class Real, class Atoms, class Pairs>
PHIID_KERNEL(Atoms::THREADS, 1)
mmi_moments(const double* xy, const double* ab, const double* xb, const double* ya,
            const double* own, const unsigned char* constant, const double* weights,
            const Index* mirror, Real* out, Index* marked, Count* count, Index trials, Index nodes,
            Index names, Index chunk_trials, Index first_trial, Index capacity, double limit,
            double limit_double, Index alone, Index row, Index rows, Index column, Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, marked, count,
                           trials, nodes, names, chunk_trials, first_trial, capacity};
    const Mmi<Real, Atoms, Moments<Atoms>> estimator{
        {xy, ab, xb, ya, own}, limit, limit_double, alone != 0};
    decompose(estimator, Matrices<Real, Atoms>{out}, task);
}

// Gaussian CCS. Real is the type of the output alone.
template <class Real, class Pairs>
PHIID_KERNEL(Pointwise::THREADS, 2)
ccs(const double* past, const double* future, const double* own, const unsigned char* constant,
    const double* weights, const Index* mirror, Real* out, Index* marked, Count* count,
    Index trials, Index nodes, Index samples, Index names, Index chunk_trials, Index first_trial,
    Index capacity, double limit, Index row, Index rows, Index column, Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, marked, count,
                           trials, nodes, names, chunk_trials, first_trial, capacity};
    const Ccs estimator{{past, future, nodes, samples}, own, limit};
    decompose(estimator, Matrices<Real, Pointwise>{out}, task);
}

// Discrete MMI or CCS. Real is the type of the output alone; nothing is marked.
template <class Real, bool CCS, class Pairs>
PHIID_KERNEL(Pointwise::THREADS, CCS ? 1 : 2)
discrete(const Word* words, const double* table, const unsigned char* constant,
         const double* weights, const Index* mirror, Real* out, Index trials, Index nodes,
         Index samples, Index names, Index chunk_trials, Index row, Index rows, Index column,
         Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, nullptr,
                           nullptr, trials, nodes, names, chunk_trials, 0, 0};
    const Discrete<CCS> estimator{words, table, samples};
    decompose(estimator, Matrices<Real, Pointwise>{out}, task);
}

// ---- Sums over the pairs of each node -----------------------------------------------------------

template <class Real, class Atoms, class Pairs>
PHIID_KERNEL(Atoms::THREADS)
mmi_series_nodes(const double* past, const double* future, const double* own,
                 const unsigned char* constant, const double* weights, const Index* mirror,
                 double* by_row, double* by_column, Index* marked, Count* count, Index trials,
                 Index nodes, Index samples, Index names, Index chunk_trials, Index first_trial,
                 Index capacity, double limit, double limit_double, Index alone, Index band,
                 Index band_tiles, Index rtr, Index sts, Index row, Index rows, Index column,
                 Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, marked, count,
                           trials, nodes, names, chunk_trials, first_trial, capacity};
    const Mmi<Real, Atoms, Series<Atoms>> estimator{
        {{past, future, nodes, samples}, own}, limit, limit_double, alone != 0};
    decompose(estimator, NodeSums<Atoms>{by_row, by_column, band, band_tiles, rtr, sts}, task);
}

template <class Atoms, class Pairs>
PHIID_KERNEL(Lags<Atoms>::THREADS, Lags<Atoms>::RESIDENT)
mmi_lags_nodes(const double* interior, const double* ends, const unsigned char* constant,
               const double* weights, const Index* mirror, double* by_row, double* by_column,
               Index* marked, Count* count, Index trials, Index nodes, Index samples, Index names,
               Index chunk_trials, Index first_trial, Index capacity, double limit, Index band,
               Index band_tiles, Index rtr, Index sts, Index row, Index rows, Index column,
               Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, marked, count,
                           trials, nodes, names, chunk_trials, first_trial, capacity};
    decompose_in_dynamic(Lags<Atoms>::of(interior, ends, nodes, samples, limit),
                         NodeSums<typename Atoms::Lagged>{by_row, by_column, band, band_tiles, rtr,
                                                          sts},
                         task);
}

template <class Real, class Atoms, class Pairs>
PHIID_KERNEL(Atoms::THREADS, 1)
mmi_moments_nodes(const double* xy, const double* ab, const double* xb, const double* ya,
                  const double* own, const unsigned char* constant, const double* weights,
                  const Index* mirror, double* by_row, double* by_column, Index* marked,
                  Count* count, Index trials, Index nodes, Index names, Index chunk_trials,
                  Index first_trial, Index capacity, double limit, double limit_double, Index alone,
                  Index band, Index band_tiles, Index rtr, Index sts, Index row, Index rows,
                  Index column, Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, marked, count,
                           trials, nodes, names, chunk_trials, first_trial, capacity};
    const Mmi<Real, Atoms, Moments<Atoms>> estimator{
        {xy, ab, xb, ya, own}, limit, limit_double, alone != 0};
    decompose(estimator, NodeSums<Atoms>{by_row, by_column, band, band_tiles, rtr, sts}, task);
}

template <class Pairs>
PHIID_KERNEL(Pointwise::THREADS)
ccs_nodes(const double* past, const double* future, const double* own,
          const unsigned char* constant, const double* weights, const Index* mirror, double* by_row,
          double* by_column, Index* marked, Count* count, Index trials, Index nodes, Index samples,
          Index names, Index chunk_trials, Index first_trial, Index capacity, double limit,
          Index band, Index band_tiles, Index rtr, Index sts, Index row, Index rows, Index column,
          Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, marked, count,
                           trials, nodes, names, chunk_trials, first_trial, capacity};
    const Ccs estimator{{past, future, nodes, samples}, own, limit};
    decompose(estimator, NodeSums<Pointwise>{by_row, by_column, band, band_tiles, rtr, sts}, task);
}

template <bool CCS, class Pairs>
PHIID_KERNEL(Pointwise::THREADS, CCS ? 1 : 2)
discrete_nodes(const Word* words, const double* table, const unsigned char* constant,
               const double* weights, const Index* mirror, double* by_row, double* by_column,
               Index trials, Index nodes, Index samples, Index names, Index chunk_trials,
               Index band, Index band_tiles, Index rtr, Index sts, Index row, Index rows,
               Index column, Index columns) {
    const Task<Pairs> task{{row, rows, column, columns}, constant, weights, mirror, nullptr,
                           nullptr, trials, nodes, names, chunk_trials, 0, 0};
    const Discrete<CCS> estimator{words, table, samples};
    decompose(estimator, NodeSums<Pointwise>{by_row, by_column, band, band_tiles, rtr, sts}, task);
}

// Adds a band to `totals`, (quantities, chunks, nodes) double, zero before the first band, in the
// order of the tiles. `tile` is that of the kernel that wrote the sums; quantities = names + 3.
// Grid: ceil(quantities * chunks * nodes / 256), block: 256.
template <class Pairs>
PHIID_KERNEL(256)
node_totals(const double* by_row, const double* by_column, double* totals, Index quantities,
            Index chunks, Index nodes, Index tile, Index band, Index band_tiles, Index row,
            Index rows, Index column, Index columns) {
    const Index index = Index(blockIdx.x) * 256 + threadIdx.x;
    const Pairs pairs{row, rows, column, columns};
    if (index < quantities * chunks * nodes)
        add_band(by_row, by_column, totals, index, nodes, tile, band, band_tiles, pairs);
}

}  // namespace phiid
