/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* One built-in core, l7_core_NAME, for the native library: compiled once for each header in include/ebpfmesh/l7 that defines a
 * core. A translation unit each, since two cores may include the same header with different hooks. */
#include EBPFMESH_CORE
