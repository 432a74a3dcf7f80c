"""What bpf(2) can do here: probes by doing, never version comparisons."""
