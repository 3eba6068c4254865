//! The workspace's own source code, as the tidy test reads it.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One Rust file, by its path from the root.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_owned()
}

/// The folder of each crate of the workspace.
pub(crate) fn crates() -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(root().join("crates"))
        .expect("crates")
        .filter_map(|entry| Some(format!("crates/{}", entry.ok()?.file_name().into_string().ok()?)))
        .collect();
    found.extend(["xtask", "testing", "oracle"].map(str::to_owned));
    found.sort();
    found
}

/// Every Rust file of ours.
pub(crate) fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for top in ["crates", "xtask", "testing", "oracle", "fuzz", "examples"] {
        rust_files(&root().join(top), &mut paths);
    }
    paths.iter().map(|path| Source::read(&relative(path))).collect()
}

impl Source {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self { path: path.to_owned(), text }
    }

    /// Name, first line and length of each function.
    pub(crate) fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut visitor = Functions::default();
        visitor.visit_file(&self.parse());
        visitor.0
    }

    /// Every identifier and keyword outside comments and strings.
    pub(crate) fn words(&self) -> BTreeSet<String> {
        let mut words = BTreeSet::new();
        collect_words(self.text.parse().unwrap_or_else(|e| panic!("{}: {e}", self.path)), &mut words);
        words
    }

    /// Every identifier in a `use` or a path of more than one segment, and every macro name; test modules left out.
    pub(crate) fn imported(&self) -> BTreeSet<String> {
        self.paths().into_iter().filter(|path| path.len() > 1).flatten().collect()
    }

    /// Every path, from `use` trees and expressions, outside `#[cfg(test)]` modules.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut visitor = Paths::default();
        visitor.visit_file(&self.parse());
        visitor.0
    }

    fn parse(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|e| panic!("{}: {e}", self.path))
    }

    /// `["plan", "step"]` for `crates/onebpf/src/plan/step.rs`.
    fn module(&self) -> Vec<String> {
        let inside = self.path.split("/src/").nth(1).unwrap_or_default();
        let mut parts: Vec<String> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            parts.pop();
        }
        parts
    }
}

/// Which top-level module of a crate uses which. Names that the crate root re-exports count for the module
/// that defines them; what the root itself defines is everybody's.
pub(crate) fn module_graph(krate: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut inside = sources();
    inside.retain(|s| s.path.starts_with(&format!("{krate}/src/")) && !s.path.ends_with("/tests.rs"));
    let modules: BTreeSet<String> = inside.iter().filter_map(|s| s.module().first().cloned()).collect();
    let exported = re_exports(&inside, &modules);
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &inside {
        let place = source.module();
        let Some(top) = place.first() else { continue };
        for path in source.paths() {
            let Some(target) = top_module(&path, &place, &modules, &exported) else { continue };
            if target != *top {
                graph.entry(top.clone()).or_default().insert(target);
            }
        }
    }
    graph
}

/// The code of each error or warning, with the file that lists it: rows `("E0101", "title")` of a `CODES` or `WARNINGS` table.
pub(crate) fn error_codes() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for source in sources().into_iter().filter(|s| s.path.contains("/src/")) {
        for table in
            ["const CODES", "const WARNINGS"].iter().filter_map(|name| source.text.split(name).nth(1))
        {
            let table = table.split("];").next().unwrap_or("");
            for word in table.split('"').skip(1).step_by(2).filter(|word| is_code(word)) {
                found.insert(word.to_owned(), source.path.clone());
            }
        }
    }
    found
}

/// `E0103`, `W0003`.
pub(crate) fn is_code(word: &str) -> bool {
    word.len() == 5 && word.starts_with(['E', 'W']) && word[1..].bytes().all(|b| b.is_ascii_digit())
}

/// All text that can show that a code is triggered: tests, test modules, the manifest of fixtures.
pub(crate) fn test_text() -> String {
    let mut text = fs::read_to_string(root().join("fixtures/MANIFEST.json")).unwrap_or_default();
    for source in sources() {
        if source.path.contains("/tests/") {
            text.push_str(&source.text);
        } else if let Some((_, tests)) = source.text.split_once("#[cfg(test)]") {
            text.push_str(tests);
        }
    }
    text
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("inside the root").to_str().expect("UTF-8 path").to_owned()
}

fn collect_words(tokens: TokenStream, words: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect_words(group.stream(), words),
            TokenTree::Ident(ident) => {
                words.insert(ident.to_string());
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Names that `lib.rs` re-exports from its modules, and where they come from.
fn re_exports(inside: &[Source], modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut exported = BTreeMap::new();
    for source in inside.iter().filter(|s| s.module().is_empty()) {
        for path in source.paths() {
            let [module, .., name] = path.as_slice() else { continue };
            if !modules.contains(module) {
                continue;
            }
            if name == "*" {
                let members = inside.iter().filter(|s| s.module().first() == Some(module));
                exported.extend(members.flat_map(public_items).map(|item| (item, module.clone())));
            } else {
                exported.insert(name.clone(), module.clone());
            }
        }
    }
    exported
}

fn public_items(source: &Source) -> Vec<String> {
    let item_name = |item: &syn::Item| match item {
        syn::Item::Struct(i) => Some(i.ident.to_string()),
        syn::Item::Enum(i) => Some(i.ident.to_string()),
        syn::Item::Fn(i) => Some(i.sig.ident.to_string()),
        syn::Item::Type(i) => Some(i.ident.to_string()),
        syn::Item::Trait(i) => Some(i.ident.to_string()),
        syn::Item::Const(i) => Some(i.ident.to_string()),
        _ => None,
    };
    source.parse().items.iter().filter_map(item_name).collect()
}

fn top_module(
    path: &[String],
    place: &[String],
    modules: &BTreeSet<String>,
    exported: &BTreeMap<String, String>,
) -> Option<String> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let first = match path.first().map(String::as_str) {
        Some("crate") => path.get(1)?,
        Some("super") if supers >= place.len() => path.get(supers)?,
        _ => return None,
    };
    if modules.contains(first) { Some(first.clone()) } else { exported.get(first).cloned() }
}

#[derive(Default)]
struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn add(&mut self, name: &syn::Ident, whole: proc_macro2::Span) {
        let (start, end) = (name.span().start().line, whole.end().line);
        self.0.push((name.to_string(), start, end + 1 - start));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident, item.span());
        visit::visit_item_fn(self, item);
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident, item.span());
        visit::visit_impl_item_fn(self, item);
    }
}

#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Paths {
    fn tree(&mut self, tree: &syn::UseTree, mut before: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before);
            }
            syn::UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.0.push(before);
            }
            syn::UseTree::Rename(name) => {
                before.push(name.ident.to_string());
                self.0.push(before);
            }
            syn::UseTree::Glob(_) => {
                before.push("*".to_owned());
                self.0.push(before);
            }
            syn::UseTree::Group(group) => {
                for item in &group.items {
                    self.tree(item, before.clone());
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let test = item.attrs.iter().any(|a| a.path().is_ident("cfg") && quoted(a).contains("test"));
        if !test {
            visit::visit_item_mod(self, item);
        }
    }
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, Vec::new());
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let name = mac.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        self.0.push(vec!["macro".to_owned(), name]);
        visit::visit_macro(self, mac);
    }
}

fn quoted(attribute: &syn::Attribute) -> String {
    match &attribute.meta {
        syn::Meta::List(list) => list.tokens.to_string(),
        _ => String::new(),
    }
}
