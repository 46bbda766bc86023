//! Where a savepoint is: told to every process of the job, and what a job that has ended with one leaves in its own folder.
//!
//! The file `chk-<id>/_savepoint` is one frame (magic `HWSP`, version 1) around the [postcard] encoding of
//! [`SavepointLocation`]. Once it exists the job has ended with that savepoint: the savepoint is complete, sinks commit what
//! it holds, and the job recovers from nothing older.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use std::fmt;

use highwater_core::frame::{self, Kind};
use highwater_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The frame around [`SavepointLocation`].
const LOCATION: Kind = Kind { magic: *b"HWSP", version: 1, name: "location of a savepoint" };

/// The folder of a savepoint. Displayed as a job can be given it to start from: with the options of its storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavepointLocation {
    /// The URI that its storage is opened from, with its options.
    pub storage: String,
    /// The folder in it.
    pub folder: String,
}

impl SavepointLocation {
    /// The content of `_savepoint`.
    pub fn encode(&self) -> Vec<u8> {
        let payload = postcard::to_allocvec(self).expect("two strings can be encoded");
        let mut bytes = Vec::new();
        frame::seal(LOCATION, &payload, &mut bytes);
        bytes
    }

    /// Reads the content of `_savepoint`, which is at `place`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it does not verify; [`ErrorKind::Incompatible`] if it is of a newer version.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Self> {
        let corrupt = |what: &str| Error::new(ErrorKind::Corrupt, format!("{place}: {what}"));
        let opened = frame::open(LOCATION, bytes, place)?;
        if opened.len != bytes.len() {
            return Err(corrupt("there is something behind the location of a savepoint"));
        }
        let decoded = postcard::take_from_bytes::<Self>(opened.payload);
        let (location, rest) = decoded.map_err(|_| corrupt("not the location of a savepoint"))?;
        match rest {
            [] if !location.folder.is_empty() => Ok(location),
            _ => Err(corrupt("not the location of a savepoint")),
        }
    }
}

impl fmt::Display for SavepointLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, options) = self.storage.split_at(self.storage.find('?').unwrap_or(self.storage.len()));
        write!(f, "{place}/{}{options}", self.folder)
    }
}
