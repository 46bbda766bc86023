//! Where snapshots go: local file system and memory.
