//! What both derives read besides the fields: their attributes, the path of the crate, the type parameters.

use std::collections::HashSet;

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, Generics, Ident, LitStr, Path, Result, parse_quote};

/// The path under which generated code finds highwater-state: what `#[data(crate = "..")]` says, else what Cargo.toml
/// says.
pub fn crate_path(attributes: &[Attribute], name: &str) -> Result<TokenStream> {
    let mut path = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error(format!("unknown attribute: a type takes only `#[{name}(crate = \"..\")]`")));
            }
            path = Some(meta.value()?.parse::<LitStr>()?.parse::<Path>()?);
            Ok(())
        })?;
    }
    Ok(path.map_or_else(path_from_manifest, |path| quote!(#path)))
}

// highwater-state comes first: a package that has both may have highwater only for its tests or be highwater itself,
// and then its own library could not name it.
fn path_from_manifest() -> TokenStream {
    let found = |package: &str, default: &str| {
        let name = match crate_name(package).ok()? {
            FoundCrate::Itself => default.to_owned(),
            FoundCrate::Name(name) => name,
        };
        Some(Ident::new(&name, Span::call_site()))
    };
    if let Some(name) = found("highwater-state", "highwater_state") {
        return quote!(::#name);
    }
    match found("highwater", "highwater") {
        Some(name) => quote!(::#name::state),
        None => quote!(::highwater_state),
    }
}

/// What an attribute says about values that were stored before a change.
#[derive(Default)]
pub struct Evolution {
    /// The names it had before.
    pub aliases: Vec<LitStr>,
    /// The value where none was stored.
    pub default: Option<DefaultValue>,
}

/// The value of a field that was not stored.
pub enum DefaultValue {
    /// That of its type.
    OfType,
    /// What this expression says.
    Expression(Box<Expr>),
}

impl Evolution {
    /// Reads `alias = ".."`; whether it was that.
    pub fn read_alias(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        if !meta.path.is_ident("alias") {
            return Ok(false);
        }
        let alias: LitStr = meta.value()?.parse()?;
        if alias.value().is_empty() {
            return Err(Error::new_spanned(alias, "an alias is a name that this had before: it cannot be empty"));
        }
        self.aliases.push(alias);
        Ok(true)
    }

    /// Reads `default` or `default = ".."`; whether it was that.
    fn read_default(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        if !meta.path.is_ident("default") {
            return Ok(false);
        }
        if self.default.is_some() {
            return Err(meta.error("`default` is given twice"));
        }
        let value = if meta.input.peek(syn::Token![=]) {
            DefaultValue::Expression(Box::new(meta.value()?.parse::<LitStr>()?.parse()?))
        } else {
            DefaultValue::OfType
        };
        self.default = Some(value);
        Ok(true)
    }

    /// What `#[data(..)]` says of a field.
    pub fn of_field(attributes: &[Attribute]) -> Result<Self> {
        Evolution::read(attributes, "a field takes `default`, `default = \"..\"` and `alias = \"..\"`", true)
    }

    /// What `#[data(..)]` says of a variant.
    pub fn of_variant(attributes: &[Attribute]) -> Result<Self> {
        Evolution::read(attributes, "a variant takes `alias = \"..\"`", false)
    }

    fn read(attributes: &[Attribute], known: &str, takes_default: bool) -> Result<Self> {
        let mut evolution = Evolution::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("data")) {
            attribute.parse_nested_meta(|meta| {
                if evolution.read_alias(&meta)? || (takes_default && evolution.read_default(&meta)?) {
                    return Ok(());
                }
                let found = meta.path.get_ident().map_or_else(|| "this".to_owned(), |ident| ident.unraw().to_string());
                Err(meta.error(format!("`{found}` is not supported: {known}")))
            })?;
        }
        Ok(evolution)
    }
}

/// Refuses aliases that do not tell which of the members was meant: each name, past or present, is that of one member.
pub fn check_aliases<'a>(members: impl Iterator<Item = (&'a str, &'a [LitStr])> + Clone) -> Result<()> {
    let names: HashSet<&str> = members.clone().map(|(name, _)| name).collect();
    let mut seen = HashSet::new();
    for (name, alias) in members.flat_map(|(name, aliases)| aliases.iter().map(move |alias| (name, alias))) {
        let text = alias.value();
        let message = if text == name {
            format!("`{text}` is its own name: an alias is a name that it had before")
        } else if names.contains(&*text) {
            format!(
                "`{text}` is the name of another one, so this one cannot be found by it: rename the other, or drop \
                 the alias"
            )
        } else if !seen.insert(text.clone()) {
            format!("`{text}` is an alias already")
        } else {
            continue;
        };
        return Err(Error::new_spanned(alias, message));
    }
    Ok(())
}

/// The generics with `Data` as a bound of every type parameter; a lifetime is refused.
pub fn data_generics(generics: &Generics, krate: &TokenStream) -> Result<Generics> {
    if let Some(lifetime) = generics.lifetimes().next() {
        return Err(Error::new_spanned(
            lifetime,
            "state outlives the record it came from: own the value, do not borrow it",
        ));
    }
    let mut generics = generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#krate::Data));
    }
    Ok(generics)
}
