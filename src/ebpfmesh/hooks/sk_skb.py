"""The hooks of what sockets of a sockmap receive: a parser that finds message borders, and a verdict on each message."""

from __future__ import annotations

from ebpfmesh.hooks.hook import About
from ebpfmesh.hooks.sockmap import FALLBACK, SockmapHook
from ebpfmesh.spec import AttachType, ProgramType


def _hook(name: str, attach_type: AttachType, about: About) -> SockmapHook:
    return SockmapHook(name, attach_type, ProgramType.SK_SKB, about)


SK_SKB_VERDICT = _hook(
    "sk_skb_verdict",
    AttachType.SK_SKB_VERDICT,
    About(
        "On each segment that a socket in the map receives: SK_PASS, SK_DROP, or a redirect; no parser, TCP and UDP.",
        "sk_skb/verdict, sk_skb",
        "5.13",
        "a7ba4558e69a",
        FALLBACK,
        "sk_skb_verdict",
    ),
)
SK_SKB_STREAM_VERDICT = _hook(
    "sk_skb_stream_verdict",
    AttachType.SK_SKB_STREAM_VERDICT,
    About(
        "On each message that a TCP socket in the map receives, as the stream parser cuts it; without a parser, on each "
        "segment.",
        "sk_skb/stream_verdict, sk_skb",
        "4.14",
        "b005fd189cec",
        FALLBACK,
        "sockhash",
    ),
)
SK_SKB_PARSER = _hook(
    "sk_skb_parser",
    AttachType.SK_SKB_STREAM_PARSER,
    About(
        "Finds where a message of a TCP stream ends: returns its length, 0 for more bytes, or an error.",
        "sk_skb/stream_parser, sk_skb",
        "4.14",
        "b005fd189cec",
        FALLBACK,
        "sockhash",
    ),
)
