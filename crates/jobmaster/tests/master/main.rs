//! Tests of [`JobMaster`](highwater_jobmaster::JobMaster).

mod failures;
mod leaders;
mod scaling;
mod slots;
mod story;
