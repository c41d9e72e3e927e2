//! Reads site files: YAML with positions, parameters and overlays, every fault at once.
