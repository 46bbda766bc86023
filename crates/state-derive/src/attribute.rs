//! What both derives read besides the fields: their attributes, the path of the crate, the type parameters.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::{Attribute, Error, Generics, Ident, LitStr, Path, Result, parse_quote};

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

/// Refuses every attribute `name` where none is known.
pub fn refuse(attributes: &[Attribute], name: &str, place: &str) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        attribute.parse_nested_meta(|meta| {
            let found = meta.path.get_ident().map_or_else(|| name.to_owned(), |ident| ident.unraw().to_string());
            Err(meta.error(format!("`{found}` is not supported: {place} takes no attributes in this version")))
        })?;
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
