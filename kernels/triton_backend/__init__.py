"""Backend `triton`: Gaussian MMI of all pairs and all trials in one launch, see README.md here.

| module         | what                                                            | needs triton |
|----------------|-----------------------------------------------------------------|--------------|
| `plan`         | which logarithms the wanted atoms are sums of                   | no           |
| `arithmetic`   | one pair: from correlations to the arguments of the logarithms  | yes          |
| `tiles`        | which pairs a program has, marks and stores of its tile         | yes          |
| `mmi_series`   | kernel that forms the correlations from the series              | yes          |
| `mmi_moments`  | kernel that reads the correlations from memory                  | yes          |
| `mmi_nodes`    | kernel that reduces its tile to sums by node                    | yes          |
| `nodes`        | bands of tiles through that kernel, sums in order, rescue       | yes          |
| `lattice_sums` | from informations to sums of atoms, for the next two            | yes          |
| `ccs`          | Gaussian CCS: kernel over every sample, and its launch          | yes          |
| `discrete`     | discrete MMI and CCS: kernel that counts, and its launch        | yes          |
| `unit_vectors` | standardisation in one read of the series, and its kernel       | yes          |
| `head_norms`   | norms of recorded heads in one read, and its kernel             | yes          |
| `launch`       | frozen launch configurations, grids, the choice between the two | yes          |
| `gradient`     | derivative of the atoms by hand, in tiles of torch operations   | no           |
| `op`           | the torch operator: fake kernel, backward                       | yes          |
| `backend`      | `run`: features, operator, rescue, averages                     | yes          |

Nothing is imported here, so that a machine without triton can still ask for the backend's status.
"""
