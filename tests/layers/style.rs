//! Rules for single files. Each check gives a message for each breach.

use syn::{
    Attribute, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::tree::Files;

/// Checks that no file is longer than `limit` lines, but for those of `exceptions`, which must be.
pub(crate) fn check_length(
    files: &Files,
    limit: usize,
    exceptions: &[(&str, &str)],
) -> Vec<String> {
    let lines = |file: &str| files.get(file).map_or(0, |text| text.lines().count());
    let is_excepted = |file: &str| exceptions.iter().any(|(known, _)| *known == file);
    let too_long = files.keys().filter(|file| lines(file) > limit && !is_excepted(file));
    let mut breaches: Vec<_> = too_long
        .map(|file| format!("{file} has {} lines, more than {limit}", lines(file)))
        .collect();
    let idle = exceptions.iter().filter(|(file, _)| lines(file) <= limit);
    breaches.extend(idle.map(|(file, _)| format!("{file} needs no exception")));
    breaches
}

/// Checks that no attribute names a module's file, and that no public item is hidden, in the files
/// of a folder.
pub(crate) fn check_attributes(folder: &str, files: &Files) -> Vec<String> {
    let mut breaches = Vec::new();
    for (file, text) in files {
        let file = &format!("{folder}/{file}");
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        Attributes { file, breaches: &mut breaches }.visit_file(&parsed);
    }
    breaches
}

struct Attributes<'a> {
    file: &'a str,
    breaches: &'a mut Vec<String>,
}

impl Attributes<'_> {
    fn add(&mut self, attribute: &Attribute, breach: &str) {
        let line = attribute.span().start().line;
        self.breaches.push(format!("{}:{line}: {breach}", self.file));
    }

    fn check_hidden(&mut self, attributes: &[Attribute], visibility: &Visibility) {
        for attribute in attributes {
            let hides = attribute.path().is_ident("doc")
                && attribute
                    .meta
                    .require_list()
                    .is_ok_and(|list| list.tokens.to_string() == "hidden");
            if hides && matches!(visibility, Visibility::Public(_)) {
                self.add(attribute, "`#[doc(hidden)]` on a public item");
            }
        }
    }
}

/// Visits items of a kind that may be public.
macro_rules! check_hidden {
    ($($visit:ident: $item:ident,)*) => {$(
        fn $visit(&mut self, item: &'ast syn::$item) {
            self.check_hidden(&item.attrs, &item.vis);
            visit::$visit(self, item);
        }
    )*};
}

impl<'ast> Visit<'ast> for Attributes<'_> {
    check_hidden! {
        visit_field: Field,
        visit_impl_item_const: ImplItemConst,
        visit_impl_item_fn: ImplItemFn,
        visit_item_const: ItemConst,
        visit_item_enum: ItemEnum,
        visit_item_fn: ItemFn,
        visit_item_mod: ItemMod,
        visit_item_static: ItemStatic,
        visit_item_struct: ItemStruct,
        visit_item_trait: ItemTrait,
        visit_item_type: ItemType,
        visit_item_use: ItemUse,
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("path") {
            self.add(attribute, "`#[path]`");
        }
    }
}
