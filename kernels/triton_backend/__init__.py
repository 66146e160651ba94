"""Backend `triton`: all pairs, or a rectangle, and all trials in one launch; see README.md here.

| module           | what                                                           | triton? |
|------------------|----------------------------------------------------------------|---------|
| `record`         | what the registry knows: status, what there are kernels for    | no      |
| `plan`           | which logarithms the wanted atoms are sums of                  | no      |
| `configurations` | frozen tiles and warps of Gaussian MMI                         | no      |
| `launch`         | area, grid, output and device of a launch on tiles of pairs    | yes     |
| `mmi`            | Gaussian MMI: the choice between two kernels, and their launch | yes     |
| `node_means`     | its sums by node: bands of tiles through the third kernel      | yes     |
| `ccs`            | launch of Gaussian CCS                                         | yes     |
| `discrete`       | discrete MMI and CCS: bits packed to words, and the launch     | yes     |
| `unit_vectors`   | standardisation in one read of the series: the launch          | yes     |
| `gradient`       | derivative of the atoms by hand, in tiles of torch operations  | no      |
| `op`             | the torch operator: fake kernel, backward                      | yes     |
| `backend`        | `run`: table from estimator to kernel, features, rescue        | yes     |
| `ahead`          | compiles the kernels for GPUs that are not there               | yes     |

What triton compiles is in `device/`, a kernel with its launch's name where it has one of its own:

| module         | what                                                           |
|----------------|----------------------------------------------------------------|
| `arithmetic`   | one pair: from correlations to the arguments of the logarithms |
| `tiles`        | which pairs a program has, marks and stores of its tile        |
| `correlations` | those of a tile, from the series or from matrices in memory    |
| `trials`       | the loop over trials of the three kernels of Gaussian MMI      |
| `mmi_series`   | the kernel from the series                                     |
| `mmi_moments`  | the kernel from matrices in memory                             |
| `mmi_nodes`    | the kernel that reduces its tile to sums by node               |
| `lattice_sums` | from informations to sums of atoms, for the next two           |
| `ccs`          | kernel over every sample                                       |
| `discrete`     | kernels that pack bits and count                               |
| `unit_vectors` | kernel that standardises                                       |

Nothing is imported here, so that a machine without triton can still ask for the backend's status.
"""
