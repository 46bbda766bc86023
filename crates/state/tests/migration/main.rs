//! Migrations: what may become what, and that bytes of the old become bytes of the new.

mod derived;
mod random;
mod table;
