//! `#[derive(KeyedState)]`: one call per state.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Ident, Result, Type};

use crate::attribute::{Evolution, check_aliases, crate_path, data_generics};
use crate::ttl::TtlSettings;

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let krate = crate_path(&input.attrs, "state")?;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => &fields.named,
            _ => return Err(Error::new_spanned(&input.ident, "keyed state is a struct with at least one named field")),
        },
        _ => return Err(Error::new_spanned(&input.ident, "keyed state is a struct with at least one named field")),
    };
    let settings = fields.iter().map(|field| TtlSettings::parse(&field.attrs)).collect::<Result<Vec<_>>>()?;
    let (ttls, evolutions): (Vec<_>, Vec<_>) = settings.into_iter().unzip();

    let generics = data_generics(&input.generics, &krate)?;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let ident = &input.ident;
    let names: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    // With the span of the type, so that "is not a state" points at the field, and is said once.
    let states: Vec<_> =
        fields.iter().map(|Field { ty, .. }| quote_spanned!(ty.span()=> <#ty as #krate::State>)).collect();
    let described: Vec<_> = names.iter().map(|name| name.unraw().to_string()).collect();
    check_aliases(described.iter().zip(&evolutions).map(|(name, evolution)| (&**name, &*evolution.aliases)))?;
    let aliases = evolutions.iter().map(|Evolution { aliases, .. }| quote!(#(.with_alias(#aliases))*));
    let expiries = fields.iter().zip(&ttls).map(|(Field { ty, .. }, ttl)| expiry(ty, ttl.is_some(), &krate));
    let ttl = ttl_methods(&names, &states, &ttls, &krate);

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
                #(#expiries)*
                ::std::vec![#(#states::describe(#described) #aliases),*]
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

            #ttl
        }
    })
}

/// A statement that compiles only if the type of a field says whether it expires as its attribute does.
fn expiry(ty: &Type, has_ttl: bool, krate: &TokenStream) -> TokenStream {
    let check = Ident::new(if has_ttl { "ExpiresAfterTtl" } else { "ExpiresNever" }, ty.span());
    quote_spanned!(ty.span()=> let () = <<#ty as #krate::State>::Expiry as #krate::keyed::ttl::#check>::HOLDS;)
}

/// What `KeyedState` says about time-to-live; nothing if no field has one.
fn ttl_methods(
    names: &[&Ident],
    states: &[TokenStream],
    ttls: &[Option<TtlSettings>],
    krate: &TokenStream,
) -> TokenStream {
    let with_ttl: Vec<_> = names
        .iter()
        .zip(states)
        .zip(ttls)
        .filter_map(|((name, state), ttl)| ttl.as_ref().map(|ttl| (name, state, ttl)))
        .collect();
    if with_ttl.is_empty() {
        return TokenStream::new();
    }
    let configs = with_ttl.iter().map(|(name, _, ttl)| {
        let (name, config) = (name.unraw().to_string(), ttl.config(krate));
        quote!((#name, #config))
    });
    let follow = with_ttl
        .iter()
        .enumerate()
        .map(|(index, (name, state, _))| quote!(#state::follow(&mut self.#name, clocks.clock(#index));));
    let expire = with_ttl.iter().map(|(name, state, _)| quote!(changed |= #state::expire(&mut self.#name);));
    quote! {
        const HAS_TTL: bool = true;

        fn ttl_configs() -> ::std::vec::Vec<(&'static str, #krate::keyed::ttl::StateTtlConfig)> {
            ::std::vec![#(#configs),*]
        }

        #[inline]
        fn follow(&mut self, clocks: &#krate::keyed::ttl::TtlClocks) {
            #(#follow)*
        }

        fn expire(&mut self) -> bool {
            let mut changed = false;
            #(#expire)*
            changed
        }
    }
}
