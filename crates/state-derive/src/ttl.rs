//! `#[state(ttl = "..")]` on a field: how long its state outlives its last access.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, LitStr, Path, Result};

use crate::attribute::Evolution;

/// What the attributes of a field say.
pub struct TtlSettings {
    ttl: Lifetime,
    time: Option<Choice>,
    update: Option<Choice>,
    visibility: Option<Choice>,
}

enum Lifetime {
    Ms(u64),
    /// What this function returns when the job runs.
    Function(Path),
}

/// A setting with a variant of the enum it stands for.
struct Choice {
    setting: Path,
    variant: &'static str,
}

const TIME: &[(&str, &str)] = &[("processing", "ProcessingTime"), ("event", "EventTime")];
const UPDATE: &[(&str, &str)] = &[("write", "OnCreateAndWrite"), ("read_and_write", "OnReadAndWrite")];
const VISIBILITY: &[(&str, &str)] =
    &[("never_return_expired", "NeverReturnExpired"), ("return_until_cleaned", "ReturnExpiredIfNotCleanedUp")];

impl TtlSettings {
    /// The settings of a field, or none if it has no time-to-live; and the names it had before.
    pub fn parse(attributes: &[Attribute]) -> Result<(Option<Self>, Evolution)> {
        let mut evolution = Evolution::default();
        let (mut ttl, mut time, mut update, mut visibility) = (None, None, None, None);
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("state")) {
            attribute.parse_nested_meta(|meta| match &*name_of(&meta) {
                "alias" => evolution.read_alias(&meta).map(drop),
                "ttl" => set(&mut ttl, &meta, lifetime),
                "time" => set(&mut time, &meta, |meta| choice(meta, TIME)),
                "update" => set(&mut update, &meta, |meta| choice(meta, UPDATE)),
                "visibility" => set(&mut visibility, &meta, |meta| choice(meta, VISIBILITY)),
                other => Err(meta.error(format!(
                    "`{other}` is unknown: a field of keyed state takes `alias`, `ttl`, and with it `time`, `update` and \
                     `visibility`"
                ))),
            })?;
        }
        let Some(ttl) = ttl else {
            return match time.or(update).or(visibility) {
                None => Ok((None, evolution)),
                Some(Choice { setting, .. }) => Err(Error::new_spanned(
                    setting,
                    "says how state expires, but nothing says when: add `ttl = \"30m\"`",
                )),
            };
        };
        Ok((Some(TtlSettings { ttl, time, update, visibility }), evolution))
    }

    /// The `StateTtlConfig`.
    pub fn config(&self, krate: &TokenStream) -> TokenStream {
        let module = quote!(#krate::keyed::ttl);
        let ttl = match &self.ttl {
            Lifetime::Ms(ms) => quote!(::core::time::Duration::from_millis(#ms)),
            Lifetime::Function(path) => quote_spanned!(path.span()=> #path()),
        };
        let or_default = |choice: &Option<Choice>, name: TokenStream| match choice {
            None => quote!(::core::default::Default::default()),
            Some(Choice { variant, .. }) => {
                let variant = quote::format_ident!("{variant}");
                quote!(#module::#name::#variant)
            }
        };
        let time = or_default(&self.time, quote!(TtlTimeCharacteristic));
        let update = or_default(&self.update, quote!(UpdateType));
        let visibility = or_default(&self.visibility, quote!(StateVisibility));
        quote!(#module::StateTtlConfig { ttl: #ttl, time: #time, update: #update, visibility: #visibility })
    }
}

fn name_of(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map_or_else(|| "state".to_owned(), |ident| ident.unraw().to_string())
}

fn set<T>(
    to: &mut Option<T>,
    meta: &ParseNestedMeta<'_>,
    parse: impl FnOnce(&ParseNestedMeta<'_>) -> Result<T>,
) -> Result<()> {
    if to.is_some() {
        return Err(meta.error(format!("`{}` is given twice", name_of(meta))));
    }
    *to = Some(parse(meta)?);
    Ok(())
}

fn lifetime(meta: &ParseNestedMeta<'_>) -> Result<Lifetime> {
    const USAGE: &str = "give a time above 0 with its unit, like \"500ms\", \"10s\", \"1m30s\", \"2h\" or \"7d\", or the \
                         path of a `fn() -> Duration`";
    let value = meta.value()?;
    if !value.peek(syn::Lit) {
        return value.parse::<Path>().map(Lifetime::Function).map_err(|error| Error::new(error.span(), USAGE));
    }
    let literal: syn::Lit = value.parse()?;
    let ms = match &literal {
        syn::Lit::Str(text) => {
            highwater_core::duration::parse(&text.value()).and_then(|ttl| u64::try_from(ttl.as_millis()).ok())
        }
        _ => None,
    };
    // The runtime counts in signed milliseconds.
    let usable = ms.filter(|ms| (1..=i64::MAX as u64).contains(ms));
    usable.map(Lifetime::Ms).ok_or_else(|| Error::new_spanned(&literal, USAGE))
}

fn choice(meta: &ParseNestedMeta<'_>, choices: &[(&str, &'static str)]) -> Result<Choice> {
    let given: LitStr = meta.value()?.parse()?;
    let text = given.value();
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, variant)) => Ok(Choice { setting: meta.path.clone(), variant }),
        None => {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            Err(Error::new_spanned(given, format!("give {}", names.join(" or "))))
        }
    }
}
