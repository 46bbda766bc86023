//! Derive macros for highwater-state.
