"""Pure decisions: which backend gets which share. Nothing here touches the kernel."""
