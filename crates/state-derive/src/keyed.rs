//! `#[derive(KeyedState)]`: one call per state.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Result};

use crate::attribute::{crate_path, data_generics, refuse};

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let krate = crate_path(&input.attrs, "state")?;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => &fields.named,
            _ => return Err(Error::new_spanned(&input.ident, "keyed state is a struct with at least one named field")),
        },
        _ => return Err(Error::new_spanned(&input.ident, "keyed state is a struct with at least one named field")),
    };
    for field in fields {
        refuse(&field.attrs, "state", "a field of keyed state")?;
    }

    let generics = data_generics(&input.generics, &krate)?;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let ident = &input.ident;
    let names: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    // With the span of the type, so that "is not a state" points at the field, and is said once.
    let states: Vec<_> =
        fields.iter().map(|Field { ty, .. }| quote_spanned!(ty.span()=> <#ty as #krate::State>)).collect();
    let described = names.iter().map(|name| name.unraw().to_string());

    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::core::default::Default for #ident #type_generics #where_clause {
            fn default() -> Self {
                Self { #(#names: ::core::default::Default::default(),)* }
            }
        }

        #[automatically_derived]
        impl #impl_generics #krate::KeyedState for #ident #type_generics #where_clause {
            fn states() -> ::std::vec::Vec<#krate::schema::NamedState> {
                ::std::vec![#(#states::describe(#described)),*]
            }

            #[inline]
            fn encode(&self, out: &mut ::std::vec::Vec<u8>) {
                #(#states::encode(&self.#names, out);)*
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> ::core::result::Result<Self, #krate::DecodeError> {
                ::core::result::Result::Ok(Self { #(#names: #states::decode(input)?,)* })
            }

            #[inline]
            fn is_empty(&self) -> bool {
                #(#states::is_cleared(&self.#names))&&*
            }

            fn clear(&mut self) {
                #(#states::clear(&mut self.#names);)*
            }
        }
    })
}
