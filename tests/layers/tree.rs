//! The modules of a crate and the arrows between them, read from its source.
//!
//! An arrow is a path in one module that leads to another one, in a `use` or written out in code.
//! Code that only tests compile (`#[cfg(test)]`) has none. A re-exported name is followed to the
//! module that defines the item.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Attribute, Item, UseTree, Visibility,
    spanned::Spanned,
    visit::{self, Visit},
};

/// The path of a module from the crate's root, which is the empty one.
pub(crate) type ModulePath = Vec<String>;

/// The files of a crate: by path from the folder of the root file, with `/` between.
pub(crate) type Files = BTreeMap<String, String>;

/// All Rust files below a folder.
pub(crate) fn read(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// A path of one module that leads to another module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: ModulePath,
    /// The module that the path names as it is written.
    pub(crate) through: ModulePath,
    /// The module that defines the item.
    pub(crate) to: ModulePath,
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The path as it is written.
    pub(crate) written: String,
}

impl std::fmt::Display for Arrow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, file, line, written, .. } = self;
        write!(f, "src/{file}:{line}: {} -> {}: {written}", name(from), name(to))
    }
}

/// The name of a module for messages.
pub(crate) fn name(module: &[String]) -> String {
    if module.is_empty() { "the root".to_owned() } else { module.join("::") }
}

/// The modules of one crate.
#[derive(Default)]
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
    /// The files that the crate is made of, those of tests included.
    pub(crate) files: Vec<String>,
}

/// One module without its tests.
#[derive(Default)]
pub(crate) struct Module {
    file: String,
    children: Vec<String>,
    /// The items that it defines.
    items: Vec<String>,
    /// What its `use` lines bring in: a name, and a path as it is written.
    imports: HashMap<String, Vec<String>>,
    /// The paths of its `use` lines that end in `*`.
    globs: Vec<Vec<String>>,
    /// Every path in it, with its line.
    paths: Vec<(Vec<String>, usize)>,
}

impl Crate {
    /// Reads a crate from its root file on.
    pub(crate) fn new(files: &Files, root: &str) -> Self {
        let mut this = Self::default();
        this.read_file(files, root, Vec::new(), false);
        this
    }

    fn read_file(&mut self, files: &Files, file: &str, path: ModulePath, is_test: bool) {
        let text = files.get(file).unwrap_or_else(|| panic!("src/{file} is missing"));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{file}: {error}"));
        self.files.push(file.to_owned());
        self.read_module(files, file, path, &parsed.items, is_test);
    }

    fn read_module(
        &mut self,
        files: &Files,
        file: &str,
        path: ModulePath,
        items: &[Item],
        is_test: bool,
    ) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in items {
            match item {
                Item::Mod(child) => {
                    let child_name = child.ident.to_string();
                    let is_test = is_test || only_for_tests(&child.attrs);
                    let child_path = [path.as_slice(), std::slice::from_ref(&child_name)].concat();
                    if !is_test {
                        module.children.push(child_name.clone());
                    }
                    match &child.content {
                        Some((_, items)) => {
                            self.read_module(files, file, child_path, items, is_test);
                        }
                        None => {
                            let found = find_file(files, file, &path, &child_name);
                            let found = found.unwrap_or_else(|| {
                                panic!("src/{file}: no file of the module {child_name}")
                            });
                            self.read_file(files, &found, child_path, is_test);
                        }
                    }
                }
                // A macro may declare modules: any word in it that has a file does.
                Item::Macro(item) if item.ident.is_none() => {
                    for word in words(item.mac.tokens.clone()) {
                        if let Some(file) = find_file(files, file, &path, &word) {
                            module.children.push(word.clone());
                            let child_path = [path.as_slice(), &[word]].concat();
                            self.read_file(files, &file, child_path, is_test);
                        }
                    }
                }
                item => module.items.extend(item_name(item)),
            }
        }
        if is_test {
            return;
        }
        let mut visitor = Paths { module: &mut module };
        for item in items {
            if !matches!(item, Item::Mod(_)) {
                visitor.visit_item(item);
            }
        }
        self.modules.insert(path, module);
    }

    /// Every arrow between modules of this crate, in the order of modules and lines.
    pub(crate) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for (from, module) in &self.modules {
            for (written, line) in &module.paths {
                let Some((through, to)) = self.resolve(from, written, 0) else { continue };
                if through != *from || to != *from {
                    arrows.push(Arrow {
                        from: from.clone(),
                        through,
                        to,
                        file: module.file.clone(),
                        line: *line,
                        written: written.join("::"),
                    });
                }
            }
        }
        arrows.sort();
        arrows.dedup();
        arrows
    }

    /// The module that a path names, and the one that defines the item at its end. `None` for a
    /// path that leads out of the crate, or to a local name.
    fn resolve(
        &self,
        from: &ModulePath,
        path: &[String],
        depth: usize,
    ) -> Option<(ModulePath, ModulePath)> {
        // A circle of re-exports.
        if depth > 16 {
            return None;
        }
        let (first, mut rest) = path.split_first()?;
        let module = self.modules.get(from)?;
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            child if module.children.iter().any(|known| known == child) => {
                [from.as_slice(), std::slice::from_ref(first)].concat()
            }
            imported => {
                let import = module.imports.get(imported)?;
                // `use x::x` of another crate.
                if import.first() == Some(first) {
                    return None;
                }
                let whole = [import.as_slice(), rest].concat();
                return self.resolve(from, &whole, depth + 1);
            }
        };
        while let Some((next, behind)) = rest.split_first() {
            let module = self.modules.get(&at)?;
            if next == "super" {
                at.pop()?;
            } else if module.children.contains(next) {
                at.push(next.clone());
            } else if !module.items.contains(next) {
                // The path names this module, and the item is another's.
                let to = self.defining(&at, next, depth + 1).unwrap_or_else(|| at.clone());
                return Some((at, to));
            } else {
                break;
            }
            rest = behind;
        }
        Some((at.clone(), at))
    }

    /// The module that defines an item which `module` imports or re-exports.
    fn defining(&self, module: &ModulePath, item: &str, depth: usize) -> Option<ModulePath> {
        let found = self.modules.get(module)?;
        if let Some(import) = found.imports.get(item) {
            return self.resolve(module, import, depth).map(|(_, to)| to);
        }
        found.globs.iter().find_map(|glob| {
            let (_, glob) = self.resolve(module, glob, depth)?;
            let defines = self.modules.get(&glob)?.items.iter().any(|known| known == item);
            if defines { Some(glob) } else { self.defining(&glob, item, depth + 1) }
        })
    }
}

/// The file of a module that `file` declares.
fn find_file(files: &Files, file: &str, parent: &[String], module: &str) -> Option<String> {
    let (folder, own) = file.rsplit_once('/').unwrap_or(("", file));
    // Only these and root files have their children beside them.
    let beside = own == "mod.rs" || parent.is_empty();
    let folder = if beside { folder.to_owned() } else { file.trim_end_matches(".rs").to_owned() };
    let prefix = if folder.is_empty() { folder } else { folder + "/" };
    [format!("{prefix}{module}.rs"), format!("{prefix}{module}/mod.rs")]
        .into_iter()
        .find(|file| files.contains_key(file))
}

/// Whether only tests compile an item.
fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn item_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Collects the paths of a module.
struct Paths<'a> {
    module: &'a mut Module,
}

impl Paths<'_> {
    fn add(&mut self, path: Vec<String>, span: Span) {
        self.module.paths.push((path, span.start().line));
    }

    fn add_use(&mut self, mut prefix: Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_use(prefix, &path.tree);
            }
            UseTree::Name(name) => {
                // `use a::{self, b}`.
                if name.ident != "self" {
                    prefix.push(name.ident.to_string());
                }
                self.add_import(prefix.last().cloned(), prefix, name.span());
            }
            UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    prefix.push(rename.ident.to_string());
                }
                self.add_import(Some(rename.rename.to_string()), prefix, rename.span());
            }
            UseTree::Glob(glob) => {
                self.module.globs.push(prefix.clone());
                self.add(prefix, glob.span());
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_use(prefix.clone(), tree));
            }
        }
    }

    fn add_import(&mut self, name: Option<String>, path: Vec<String>, span: Span) {
        self.module.imports.extend(name.map(|name| (name, path.clone())));
        self.add(path, span);
    }

    /// Paths in the tokens of a macro: words with `::` between.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut span = Span::call_site();
        // Colons since the last word.
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add(std::mem::take(&mut path), span);
                        span = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.add(std::mem::take(&mut path), span);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.add(path, span);
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !only_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(segments, path.span());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.add_tokens(item.tokens.clone());
    }

    // `pub(in path)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    // Words of an attribute are no paths of the crate.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// The words of a macro's tokens.
fn words(tokens: TokenStream) -> Vec<String> {
    let word = |token| match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    };
    tokens.into_iter().filter_map(word).collect()
}
