//! Benchmarks with their yardsticks in the same binary.
