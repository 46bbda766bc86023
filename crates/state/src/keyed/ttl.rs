//! Time-to-live: how long what a state holds outlives its last access.
//!
//! A state with a time-to-live is the same container over *stamped* values: [`ValueState<T, Ttl>`](super::ValueState)
//! keeps one stamp, [`ListState<T, Ttl>`](super::ListState) and [`MapState<K, V, Ttl>`](super::MapState) one for each
//! element and entry, which expire each by itself. A stamp is the time of the last access. With the marker [`Never`],
//! the default, the containers hold the plain values: no memory, no instruction and no byte stored for it.
//!
//! ```
//! use highwater_state::{KeyedState, MapState, Ttl, ValueState};
//!
//! #[derive(KeyedState)]
//! struct Visitor {
//!     requests: ValueState<u64>,
//!     #[state(ttl = "30m")]
//!     pages: MapState<String, u64, Ttl>,
//! }
//! # assert!(Visitor::default().pages.is_empty());
//! ```
//!
//! | in `#[state(..)]` of the field | is | default |
//! |---|---|---|
//! | `ttl` | a time above 0: `"500ms"`, `"30s"`, `"1h30m"`, `"7d"`; or the path of a `fn() -> Duration` | none: a `Ttl` state must have it |
//! | `time` | whose time passes: `"processing"` (the machine's clock) or `"event"` (the watermark) | `"processing"` |
//! | `update` | what is an access: `"write"` (creating and writing), or `"read_and_write"` | `"write"` |
//! | `visibility` | what has expired and is not yet cleaned up: `"never_return_expired"`, or `"return_until_cleaned"` | `"never_return_expired"` |
//!
//! The path is for a time that is known only when the program runs, from its arguments say. The function is called when
//! a task starts; zero ends the job before the first record.
//!
//! ```
//! use std::sync::OnceLock;
//! use std::time::Duration;
//! use highwater_state::{KeyedState, Ttl, ValueState};
//!
//! static SESSION_GAP: OnceLock<Duration> = OnceLock::new();
//!
//! fn session_gap() -> Duration {
//!     SESSION_GAP.get().copied().unwrap_or(Duration::from_secs(1800))
//! }
//!
//! #[derive(KeyedState)]
//! struct Session {
//!     #[state(ttl = session_gap, time = "event", update = "read_and_write")]
//!     clicks: ValueState<u64, Ttl>,
//! }
//!
//! SESSION_GAP.set(Duration::from_secs(60)).unwrap();
//! assert_eq!(Session::ttl_configs()[0].1.ttl, Duration::from_secs(60));
//! ```
//!
//! In processing time the present is the machine's clock at the begin of a batch. In event time an access is stamped
//! with the time of the record or timer, but not below the watermark, and expiry follows the watermark, however fast the
//! input is read; a timer finds what has not expired at its own time.
//!
//! Invariants:
//! * what has stamp `s` has expired exactly when the present of its time is at least `s + ttl`;
//! * unless the visibility says otherwise, what has expired is seen by no read, cleaned up or not;
//! * what is accessed has not expired right after;
//! * what has no stamp yet ([`NO_STAMP`]) does not expire; it is stamped with the present when it is first seen.
//!
//! Settings are not stored. A changed time-to-live holds for what is there already, from its last access on.
//!
//! Terms and defaults are those of Flink's
//! [state TTL](https://nightlies.apache.org/flink/flink-docs-stable/docs/dev/datastream/fault-tolerance/state/#state-time-to-live-ttl),
//! which has processing time only.

mod clock;
mod expiry;

pub use clock::{NO_STAMP, TtlClock, TtlClocks};
pub(super) use expiry::Age;
pub use expiry::{ExpiresAfterTtl, ExpiresNever, Expiry, Never, Ttl};

use std::time::Duration;

/// The time-to-live of one state: Flink's `StateTtlConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTtlConfig {
    /// How long something outlives its last access; whole milliseconds, 1 at least.
    pub ttl: Duration,
    /// Whose time passes.
    pub time: TtlTimeCharacteristic,
    /// What is an access.
    pub update: UpdateType,
    /// Whether what has expired can still be read.
    pub visibility: StateVisibility,
}

impl StateTtlConfig {
    /// A time-to-live with the defaults: processing time, creating and writing, never return what has expired.
    pub const fn new(ttl: Duration) -> Self {
        StateTtlConfig {
            ttl,
            time: TtlTimeCharacteristic::ProcessingTime,
            update: UpdateType::OnCreateAndWrite,
            visibility: StateVisibility::NeverReturnExpired,
        }
    }
}

/// Whose time makes state expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TtlTimeCharacteristic {
    /// The clock of the machine.
    #[default]
    ProcessingTime,
    /// The watermark of the task.
    EventTime,
}

/// What starts the time-to-live anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateType {
    /// Creating and writing.
    #[default]
    OnCreateAndWrite,
    /// Creating, writing, and every read that finds it. Asking how many there are reads none.
    OnReadAndWrite,
}

/// Whether what has expired can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateVisibility {
    /// What has expired is gone for every read.
    #[default]
    NeverReturnExpired,
    /// What has expired is there until the clean-up in the background comes to it.
    ReturnExpiredIfNotCleanedUp,
}
