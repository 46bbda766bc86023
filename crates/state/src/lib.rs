//! What a user declares as state, how it is encoded, and the table that holds it.
