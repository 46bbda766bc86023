//! Derive macros of highwater-state; the crate re-exports and documents them.
//!
//! A macro only spells out what a user would otherwise write by hand: one call per field, in the order of declaration.
//! What the bytes are is decided in highwater-state.

mod attribute;
mod data;
mod keyed;
mod operator;
mod ttl;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `highwater_state::Data`.
#[proc_macro_derive(Data, attributes(data))]
pub fn derive_data(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    data::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `highwater_state::KeyedState` and `Default`.
#[proc_macro_derive(KeyedState, attributes(state))]
pub fn derive_keyed_state(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    keyed::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `highwater_state::OperatorState` and `Default`.
#[proc_macro_derive(OperatorState, attributes(state))]
pub fn derive_operator_state(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    operator::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
