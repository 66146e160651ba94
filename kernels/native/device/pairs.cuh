// Which pairs a kernel computes: all pairs of the nodes, or a rectangle of their matrix. A compile
// time choice, so that all pairs pay nothing for it.
//
// Both classes have
//     Pairs(row, rows, column, columns)  see kernels.cuh
//     SYMMETRIC                          whether a pair also stands for its mirror image
//     rows(nodes), columns(nodes)        of the matrix; tiles start at the first
//     has(nodes, row, column)            whether a place in a tile is a pair
//     written(nodes, row, column)        or has, on the diagonal, a place in the matrices

#pragma once

namespace phiid {

using Index = long long;

// Some nodes in a row.
struct Range {
    Index first, count;

    PHIID_FN Index end() const { return first + count; }
    PHIID_FN Index tiles(int tile) const { return (count + tile - 1) / tile; }
};

// row < column: tiles on and above the diagonal.
struct AllPairs {
    static constexpr bool SYMMETRIC = true;

    PHIID_FN AllPairs(Index, Index, Index, Index) {}

    PHIID_FN static Range rows(Index nodes) { return {0, nodes}; }
    PHIID_FN static Range columns(Index nodes) { return {0, nodes}; }
    PHIID_FN static bool has(Index nodes, Index row, Index column) {
        return row < column && column < nodes;
    }
    PHIID_FN static bool written(Index nodes, Index row, Index column) {
        return row <= column && column < nodes;
    }
};

// Rows that have no node in common with the columns.
struct Rectangle {
    static constexpr bool SYMMETRIC = false;

    Range down, across;

    PHIID_FN Rectangle(Index row, Index rows, Index column, Index columns)
        : down{row, rows}, across{column, columns} {}

    PHIID_FN Range rows(Index) const { return down; }
    PHIID_FN Range columns(Index) const { return across; }
    PHIID_FN bool has(Index, Index row, Index column) const {
        return row < down.end() && column < across.end();
    }
    PHIID_FN bool written(Index nodes, Index row, Index column) const {
        return has(nodes, row, column);
    }
};

}  // namespace phiid
