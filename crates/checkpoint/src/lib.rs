//! Pure decisions about checkpoints, restarts and recovery.
