//! `#[derive(OperatorState)]`: one call per state.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Result, Token};

use crate::attribute::{crate_path, data_generics};

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let krate = crate_path(&input.attrs, "state")?;
    let fields = fields(input)?;
    for field in fields {
        refuse_attributes(field)?;
    }

    let generics = data_generics(&input.generics, &krate)?;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let ident = &input.ident;
    let names: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    // With the span of the type, so that "is not an operator state" points at the field.
    let states: Vec<_> = fields
        .iter()
        .map(|Field { ty, .. }| quote_spanned!(ty.span()=> <#ty as #krate::operator::ElementState>))
        .collect();
    let of_kind = fields.iter().map(
        |Field { ty, .. }| quote_spanned!(ty.span()=> #krate::operator::describe_as::<<Self as #krate::OperatorState>::Kind, #ty>),
    );
    let described: Vec<_> = names.iter().map(|name| name.unraw().to_string()).collect();
    let first = &states[0];

    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::core::default::Default for #ident #type_generics #where_clause {
            fn default() -> Self {
                Self { #(#names: ::core::default::Default::default(),)* }
            }
        }

        #[automatically_derived]
        impl #impl_generics #krate::OperatorState for #ident #type_generics #where_clause {
            type Kind = #first::Kind;

            fn states() -> ::std::vec::Vec<#krate::operator::NamedElements> {
                ::std::vec![#(#of_kind(#described)),*]
            }

            fn encode(&self) -> ::std::vec::Vec<::std::vec::Vec<::std::vec::Vec<u8>>> {
                ::std::vec![#(#states::encode(&self.#names)),*]
            }

            fn restore<__R: #krate::operator::ReadElements>(
                stored: &mut __R,
            ) -> ::core::result::Result<Self, __R::Error> {
                ::core::result::Result::Ok(Self { #(#names: #states::restore(#described, stored)?,)* })
            }
        }
    })
}

fn fields(input: &DeriveInput) -> Result<&Punctuated<Field, Token![,]>> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => Ok(&fields.named),
            _ => Err(Error::new_spanned(&input.ident, "operator state is a struct with at least one named field")),
        },
        _ => Err(Error::new_spanned(&input.ident, "operator state is a struct with at least one named field")),
    }
}

/// Operator state has neither a time-to-live nor aliases.
fn refuse_attributes(field: &Field) -> Result<()> {
    match field.attrs.iter().find(|attribute| attribute.path().is_ident("state")) {
        Some(attribute) => Err(Error::new_spanned(attribute, "a field of operator state takes no attributes")),
        None => Ok(()),
    }
}
