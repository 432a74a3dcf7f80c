"""What the connect tier asks of a kernel, by the names of `ebpfmesh.features`."""

FEATURES = (
    "btf",
    "cgroup_link",
    "connect",
    "sendmsg",
    "recvmsg",
    "getpeername",
    "sock_release",
    "sockops",
    "sk_storage",
    "sk_storage_sock_addr",
    "netns_cookie_sock_addr",
    "tcp_sock_sockops",
    "set_retval",
    "mmapable_arrays",
    "batch_hash",
    "map_in_map",
)
"""In the order in which a missing one is named; the newest, set_retval, makes 5.18 the oldest kernel."""
