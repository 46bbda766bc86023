//! Tests of [`JobMaster`](highwater_jobmaster::JobMaster).

mod failures;
mod leaders;
mod leaving;
mod scaling;
mod slots;
mod story;
