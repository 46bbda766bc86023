//! `#[derive(Data)]`: one call per field.
//!
//! A struct is handled as the one [`Case`] of its type, an enum as a case per variant, each with its tag.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, LitStr, Member, Result, Type, Variant};

use crate::attribute::{DefaultValue, Evolution, check_aliases, crate_path, data_generics};

/// A struct, or one variant of an enum: what a value can look like.
struct Case<'a> {
    /// `Self` or `Self::Variant`.
    path: TokenStream,
    name: &'a Ident,
    /// The byte in front of the fields of a variant.
    tag: Option<u8>,
    /// Names the variant had before.
    aliases: Vec<LitStr>,
    fields: Vec<Field>,
}

struct Field {
    member: Member,
    /// As it stands in the schema.
    name: String,
    ty: Type,
    evolution: Evolution,
    /// A name no user's field can clash with.
    binding: Ident,
    /// `<Type as Data>` with the span of the type, so that "cannot be stored" points at the field, and is said once.
    data: TokenStream,
}

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let krate = crate_path(&input.attrs, "data")?;
    let cases = cases(input, &krate)?;
    let generics = data_generics(&input.generics, &krate)?;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let ident = &input.ident;

    let width = width(&cases, &krate);
    let schema = schema(input, &cases, &krate);
    let encode = cases.iter().map(|case| case.encode());
    let store = cases.iter().map(|case| case.store(&krate));
    let decode = decode(ident, &cases, &krate);
    let key_hash = key_hash(&cases, &krate);
    // Types that hold each other have no width; asked for here, the error comes with the type, not with its first use.
    let check = input
        .generics
        .params
        .is_empty()
        .then(|| quote!(const _: #krate::data::Width = <#ident as #krate::Data>::WIDTH;));

    Ok(quote! {
        #[automatically_derived]
        #[allow(unused_variables)]
        impl #impl_generics #krate::Data for #ident #type_generics #where_clause {
            const WIDTH: #krate::data::Width = #width;

            fn schema() -> #krate::Schema {
                #schema
            }

            #[inline]
            fn encode(&self, out: &mut ::std::vec::Vec<u8>) {
                #krate::data::encode_parts(self, out, |out| match self { #(#encode)* });
            }

            #[inline]
            fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
                match self { #(#store)* }
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> ::core::result::Result<Self, #krate::DecodeError> {
                #decode
            }

            #key_hash
        }

        #check
    })
}

fn cases<'a>(input: &'a DeriveInput, krate: &TokenStream) -> Result<Vec<Case<'a>>> {
    let name = &input.ident;
    match &input.data {
        Data::Struct(data) => {
            let fields = fields(&data.fields, name, krate)?;
            Ok(vec![Case { path: quote!(Self), name, tag: None, aliases: Vec::new(), fields }])
        }
        Data::Enum(data) if data.variants.is_empty() => {
            Err(Error::new_spanned(name, "an enum without variants has no values to store"))
        }
        Data::Enum(data) => {
            let cases = data.variants.iter().enumerate().map(|variant| variant_case(variant, name, krate));
            let cases = cases.collect::<Result<Vec<_>>>()?;
            let names: Vec<_> = cases.iter().map(|case| case.name.unraw().to_string()).collect();
            check_aliases(names.iter().zip(&cases).map(|(name, case)| (&**name, &*case.aliases)))?;
            Ok(cases)
        }
        Data::Union(_) => Err(Error::new_spanned(name, "a union cannot be stored in state: use an enum")),
    }
}

fn variant_case<'a>((index, variant): (usize, &'a Variant), of: &Ident, krate: &TokenStream) -> Result<Case<'a>> {
    let tag =
        u8::try_from(index).map_err(|_| Error::new_spanned(variant, "an enum in state has at most 256 variants"))?;
    let Evolution { aliases, .. } = Evolution::of_variant(&variant.attrs)?;
    let name = &variant.ident;
    let fields = fields(&variant.fields, of, krate)?;
    Ok(Case { path: quote!(Self::#name), name, tag: Some(tag), aliases, fields })
}

fn fields(fields: &Fields, of: &Ident, krate: &TokenStream) -> Result<Vec<Field>> {
    let field = |(index, (field, member)): (usize, (&syn::Field, Member))| {
        let evolution = Evolution::of_field(&field.attrs)?;
        let ty = &field.ty;
        if let Some(within) = mention(of, ty.to_token_stream()) {
            let message = format!("`{of}` holds itself: a recursive type has a schema without end and cannot be state");
            return Err(Error::new(within, message));
        }
        let name = name(&member, &evolution.aliases)?;
        let binding = format_ident!("field_{index}", span = Span::mixed_site());
        let data = quote_spanned!(ty.span()=> <#ty as #krate::Data>);
        Ok(Field { member, name, ty: ty.clone(), evolution, binding, data })
    };
    let fields = fields.iter().zip(fields.members()).enumerate().map(field).collect::<Result<Vec<_>>>()?;
    check_aliases(fields.iter().map(|field| (&*field.name, &*field.evolution.aliases)))?;
    Ok(fields)
}

/// The name of a field in the schema: its own, or its place. Then no alias may be a place, since it is found by its own
/// first.
fn name(member: &Member, aliases: &[LitStr]) -> Result<String> {
    match member {
        Member::Named(ident) => Ok(ident.unraw().to_string()),
        Member::Unnamed(index) => {
            let is_place = |alias: &&LitStr| alias.value().bytes().all(|byte| byte.is_ascii_digit());
            if let Some(alias) = aliases.iter().find(is_place) {
                let message = "fields without names are found by their place: give them names to move them";
                return Err(Error::new_spanned(alias, message));
            }
            Ok(index.index.to_string())
        }
    }
}

/// Where the type `name` is named in another: by `Self` or by its name, not as the end of a longer path.
fn mention(name: &Ident, ty: TokenStream) -> Option<Span> {
    let mut after_colon = false;
    for token in ty {
        match token {
            TokenTree::Ident(ident) if (ident == *name && !after_colon) || ident == "Self" => {
                return Some(ident.span());
            }
            TokenTree::Group(group) => {
                if let Some(within) = mention(name, group.stream()) {
                    return Some(within);
                }
                after_colon = false;
            }
            TokenTree::Punct(punct) => after_colon = punct.as_char() == ':',
            TokenTree::Ident(_) | TokenTree::Literal(_) => after_colon = false,
        }
    }
    None
}

impl Case<'_> {
    /// `Self::Variant { name: field_0, .. }`: the braces fit every kind of struct and variant.
    fn pattern(&self) -> TokenStream {
        let path = &self.path;
        let fields = self.fields.iter().map(|Field { member, binding, .. }| quote!(#member: #binding));
        quote!(#path { #(#fields),* })
    }

    fn encode(&self) -> TokenStream {
        let pattern = self.pattern();
        let tag = self.tag.map(|tag| quote!(out.push(#tag);));
        let fields = self.fields.iter().map(|Field { binding, data, .. }| quote!(#data::encode(#binding, out);));
        quote!(#pattern => { #tag #(#fields)* })
    }

    fn store(&self, krate: &TokenStream) -> TokenStream {
        let pattern = self.pattern();
        let tag = self.tag.map(|tag| quote!(let slot = #krate::Data::store(&#tag, slot);));
        let fields =
            self.fields.iter().map(|Field { binding, data, .. }| quote!(let slot = #data::store(#binding, slot);));
        quote!(#pattern => { #tag #(#fields)* slot })
    }

    /// The value, read field by field.
    fn decode(&self) -> TokenStream {
        let path = &self.path;
        let fields = self.fields.iter().map(|Field { member, data, .. }| quote!(#member: #data::decode(input)?));
        quote!(::core::result::Result::Ok(#path { #(#fields),* }))
    }

    /// The width of the fields, without the tag.
    fn width(&self, krate: &TokenStream) -> TokenStream {
        let fields = self.fields.iter().map(|Field { data, .. }| quote!(.then(#data::WIDTH)));
        quote!(#krate::data::Width::fixed(0) #(#fields)*)
    }

    /// The schema of the fields: a `Vec<Field>`.
    fn schema(&self, krate: &TokenStream) -> TokenStream {
        let fields = self.fields.iter().map(|field| field.schema(krate));
        quote!(::std::vec![#(#fields),*])
    }
}

impl Field {
    /// `Field::new(..)`, with its aliases and its default.
    fn schema(&self, krate: &TokenStream) -> TokenStream {
        let Field { name, ty, data, evolution: Evolution { aliases, default }, .. } = self;
        let default = default.as_ref().map(|default| {
            let value = match default {
                DefaultValue::OfType => quote_spanned!(ty.span()=> <#ty as ::core::default::Default>::default()),
                // Its type stands beside it, so that an error points at the expression.
                DefaultValue::Expression(expression) => quote!({ let value: #ty = #expression; value }),
            };
            quote!(.with_default::<#ty>(&#value))
        });
        quote!(#krate::schema::Field::new(#name, #data::schema()) #(.with_alias(#aliases))* #default)
    }
}

fn width(cases: &[Case], krate: &TokenStream) -> TokenStream {
    let mut widths = cases.iter().map(|case| case.width(krate));
    let first = widths.next();
    match cases.first().and_then(|case| case.tag) {
        None => quote!(#first),
        Some(_) => quote!(#krate::data::Width::fixed(1).then((#first) #(.or(#widths))*)),
    }
}

fn schema(input: &DeriveInput, cases: &[Case], krate: &TokenStream) -> TokenStream {
    let name = input.ident.unraw().to_string();
    let name = quote!(::std::string::String::from(#name));
    if let [case @ Case { tag: None, .. }] = cases {
        let fields = case.schema(krate);
        return quote!(#krate::Schema::Struct { name: #name, fields: #fields });
    }
    let variants = cases.iter().map(|case| {
        let (name, aliases, fields) = (case.name.unraw().to_string(), &case.aliases, case.schema(krate));
        quote!(#krate::schema::Variant::new(#name, #fields) #(.with_alias(#aliases))*)
    });
    quote!(#krate::Schema::Enum { name: #name, variants: ::std::vec![#(#variants),*] })
}

fn decode(ident: &Ident, cases: &[Case], krate: &TokenStream) -> TokenStream {
    if let [case @ Case { tag: None, .. }] = cases {
        return case.decode();
    }
    let name = ident.unraw().to_string();
    let arms = cases.iter().map(|case| {
        let (tag, value) = (case.tag, case.decode());
        quote!(#tag => #value,)
    });
    // With all 256 variants there is no other tag.
    let unknown = (cases.len() < 256).then(|| {
        quote! {
            tag => ::core::result::Result::Err(#krate::DecodeError::Invalid {
                what: #name,
                found: ::core::convert::Into::into(tag),
            }),
        }
    });
    quote! {
        match <u8 as #krate::Data>::decode(input)? {
            #(#arms)*
            #unknown
        }
    }
}

/// A struct with one field is encoded as that field, so it has the field's hash: with the faster way to it, if any.
fn key_hash(cases: &[Case], krate: &TokenStream) -> Option<TokenStream> {
    let [Case { tag: None, fields, .. }] = cases else { return None };
    let [Field { member, data, .. }] = fields.as_slice() else { return None };
    Some(quote! {
        #[inline]
        fn key_hash(&self) -> #krate::data::KeyHash {
            #data::key_hash(&self.#member)
        }
    })
}
