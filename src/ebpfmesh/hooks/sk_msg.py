"""The hook of what sockets of a sockmap send: a program passes, drops, or redirects each message."""

from __future__ import annotations

from ebpfmesh.hooks.hook import About
from ebpfmesh.hooks.sockmap import FALLBACK, SockmapHook
from ebpfmesh.spec import AttachType, ProgramType

SK_MSG = SockmapHook(
    "sk_msg",
    AttachType.SK_MSG_VERDICT,
    ProgramType.SK_MSG,
    About(
        "On each sendmsg() and sendfile() of a socket in the map: SK_PASS, SK_DROP, or a redirect to another socket.",
        "sk_msg",
        "4.17",
        "4f738adba30a",
        FALLBACK,
        "sockhash",
    ),
)
