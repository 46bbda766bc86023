//! The queries, each in a file of its own with the SQL that it was published as.
//!
//! * **Rows.** A row displays as its line of canonical text: the columns of the published result table, with `|` between them.
//! * **Changes.** No query ever takes a row back, because nothing in the stream is taken back. Where a row can change, it has a
//!   [key](Row::key), and a row with the same key takes the place of the one before; else rows only come. So the result is what is
//!   left when the stream has ended. Rows of the same key come from one subtask, in order.
//! * **State** is kept for ever, as in the published queries, except for that of windows.
//! * **Projection.** Only what a query needs of an event leaves its first operator.

mod join;
mod tally;
mod winning;

use std::fmt;

use highwater::{DataStream, Record};

use crate::calendar::Timestamp;
use crate::event::{Bid, Event};

/// A row of a query's result.
pub trait Row: Record + fmt::Display {
    /// What identifies the row, if it can change: it takes the place of the row before that has the same key.
    fn key(&self) -> Option<String> {
        None
    }
}

/// What `project` makes of the bids.
fn bids<T: Record>(
    events: &DataStream<Event>,
    mut project: impl FnMut(Bid) -> Option<T> + Clone + Send + Sync + 'static,
) -> DataStream<T> {
    events.flat_map(move |event, out| {
        if let Event::Bid(bid) = event {
            project(bid).into_iter().for_each(|row| out.collect(row));
        }
        Ok(())
    })
}

/// All columns of a bid, in the order of the published view.
fn write_bid(bid: &Bid, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Bid { auction, bidder, price, channel, url, date_time, extra } = bid;
    write!(f, "{auction}|{bidder}|{price}|{channel}|{url}|{}|{extra}", Timestamp(*date_time))
}

/// Takes the rows of a query, whichever it is.
pub trait Output {
    /// Called once, when the job is built.
    fn take<R: Row>(&mut self, rows: DataStream<R>);
}

macro_rules! queries {
    ($($variant:ident $name:literal $query:path),* $(,)?) => {
        /// A query, by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Query {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Query {
            /// All of them.
            pub const ALL: &[Query] = &[$(Query::$variant),*];

            /// As it is called on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Query::$variant => $name,)*
                }
            }

            /// Builds the query over `events`, and hands its rows to `output`.
            pub fn build(self, events: &DataStream<Event>, output: &mut impl Output) {
                match self {
                    $(Query::$variant => output.take($query(events)),)*
                }
            }
        }
    };
}

pub mod q0;
pub mod q1;
pub mod q10;
pub mod q11;
pub mod q12;
pub mod q13;
pub mod q14;
pub mod q15;
pub mod q16;
pub mod q17;
pub mod q18;
pub mod q19;
pub mod q2;
pub mod q20;
pub mod q21;
pub mod q22;
pub mod q23;
pub mod q3;
pub mod q4;
pub mod q5;
pub mod q6;
pub mod q7;
pub mod q8;
pub mod q9;

pub use self::{
    q0::Q0, q1::Q1, q2::Q2, q3::Q3, q4::Q4, q5::Q5, q6::Q6, q7::Q7, q8::Q8, q9::Q9, q10::Q10, q11::Q11, q12::Q12,
    q13::Q13, q14::Q14, q15::Q15, q16::Q16, q17::Q17, q18::Q18, q19::Q19, q20::Q20, q21::Q21, q22::Q22, q23::Q23,
};

queries! {
    Q0 "q0" q0::q0,
    Q1 "q1" q1::q1,
    Q2 "q2" q2::q2,
    Q3 "q3" q3::q3,
    Q4 "q4" q4::q4,
    Q5 "q5" q5::q5,
    Q6 "q6" q6::q6,
    Q7 "q7" q7::q7,
    Q8 "q8" q8::q8,
    Q9 "q9" q9::q9,
    Q10 "q10" q10::q10,
    Q11 "q11" q11::q11,
    Q12 "q12" q12::q12,
    Q12ProcessingTime "q12-processing-time" q12::q12_processing_time,
    Q13 "q13" q13::q13,
    Q14 "q14" q14::q14,
    Q15 "q15" q15::q15,
    Q16 "q16" q16::q16,
    Q17 "q17" q17::q17,
    Q18 "q18" q18::q18,
    Q19 "q19" q19::q19,
    Q20 "q20" q20::q20,
    Q21 "q21" q21::q21,
    Q22 "q22" q22::q22,
    Q23 "q23" q23::q23,
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Query {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let query = Query::ALL.iter().find(|query| query.name() == name);
        query.copied().ok_or_else(|| {
            let names: Vec<_> = Query::ALL.iter().map(|query| query.name()).collect();
            format!("there is no query {name:?}: give one of {}", names.join(", "))
        })
    }
}
