//! The event time of a record, for operators that do not work without.

use highwater_core::BoxError;
use highwater_runtime::{Context, Record, UserResult};
use highwater_state::Key;

/// The event time of the record at hand, in ms since the Unix epoch; `operator` is what the error says has got one without.
#[inline]
pub(crate) fn event_time_of<K: Key, Out: Record>(context: &Context<'_, K, Out>, operator: &str) -> UserResult<i64> {
    context.timestamp().ok_or_else(|| missing(operator))
}

#[cold]
fn missing(operator: &str) -> BoxError {
    format!(
        "a record without event time has come to {operator}: give its source a WatermarkStrategy that extracts timestamps"
    )
    .into()
}
