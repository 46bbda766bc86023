//! Operators, exchange, worker loop and driver on timely dataflow.
