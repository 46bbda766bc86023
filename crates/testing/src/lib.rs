//! Fault injection and harnesses for testing jobs and storages.
