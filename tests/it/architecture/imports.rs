//! Which file of `src` imports which, read from the syntax trees of all three crates (the library and both binaries).
//!
//! A path is followed through re-exports to the file that defines the item, so a `pub use` in a `mod.rs` is neither an
//! import of its parent nor hides one of its child. Code under `#[cfg(test)]` is left out. A path inside a macro call is
//! found in its tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;

/// For each file, the files that it imports, with the names that it takes from them.
pub(super) type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

const LIBRARY: &str = "ecs_bootstrap";

/// A module with a file of its own. Inline modules belong to their file.
struct Module {
    file: String,
    parent: Option<String>,
    items: Vec<syn::Item>,
    /// Names of submodules.
    children: BTreeSet<String>,
    /// Names that `use` brings in, with the path each stands for; `*` is kept apart.
    names: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// All modules by their path, such as `ecs_bootstrap::boundary::aws`.
type Modules = BTreeMap<String, Module>;

/// The imports below a folder with `lib.rs`, `main.rs` and `bin/ecs-rollout/main.rs`.
pub(super) fn read(src: &Path) -> Imports {
    let mut imports = Imports::new();
    for_each_module(src, |modules, module, finder| {
        let taken = imports.entry(module.file.clone()).or_default();
        for (target, name) in finder.found {
            let target = &modules[&target].file;
            if *target != module.file {
                taken.entry(target.clone()).or_default().insert(name);
            }
        }
    });
    imports
}

/// The paths of other crates that each file uses, such as `std::fs::read`.
pub(super) fn externals(src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut externals = BTreeMap::new();
    for_each_module(src, |_, module, finder| drop(externals.insert(module.file.clone(), finder.external)));
    externals
}

fn for_each_module(src: &Path, mut visit: impl FnMut(&Modules, &Module, Finder<'_>)) {
    let mut modules = Modules::new();
    for (name, file) in [(LIBRARY, "lib.rs"), ("main", "main.rs"), ("ecs_rollout", "bin/ecs-rollout/main.rs")] {
        if src.join(file).exists() {
            load(src, file.to_owned(), name.to_owned(), None, true, &mut modules);
        }
    }
    for (path, module) in &modules {
        let mut finder = Finder { modules: &modules, module: path, found: BTreeSet::new(), external: BTreeSet::new() };
        module.items.iter().for_each(|item| finder.visit_item(item));
        visit(&modules, module, finder);
    }
}

fn load(src: &Path, file: String, path: String, parent: Option<String>, is_root: bool, modules: &mut Modules) {
    let text = std::fs::read_to_string(src.join(&file)).unwrap_or_else(|error| panic!("src/{file}: {error}"));
    let tree = syn::parse_file(&text).unwrap_or_else(|error| panic!("src/{file}: {error}"));
    let items: Vec<_> = tree.items.into_iter().filter(|item| !is_for_tests(item)).collect();
    let folder = if is_root || file.ends_with("/mod.rs") {
        file.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default()
    } else {
        format!("{}/", file.trim_end_matches(".rs"))
    };
    let mut module = Module {
        file,
        parent,
        items: Vec::new(),
        children: BTreeSet::new(),
        names: BTreeMap::new(),
        globs: Vec::new(),
    };
    for item in &items {
        match item {
            syn::Item::Mod(child) if child.content.is_none() => {
                let name = child.ident.to_string();
                let file = [format!("{folder}{name}.rs"), format!("{folder}{name}/mod.rs")]
                    .into_iter()
                    .find(|file| src.join(file).exists())
                    .unwrap_or_else(|| panic!("no file for the module {path}::{name}"));
                load(src, file, format!("{path}::{name}"), Some(path.clone()), false, modules);
                module.children.insert(name);
            }
            syn::Item::Use(item) => {
                for (name, target) in leaves(&item.tree) {
                    if name == "*" {
                        module.globs.push(target);
                    } else {
                        module.names.insert(name, target);
                    }
                }
            }
            _ => {}
        }
    }
    module.items = items;
    modules.insert(path, module);
}

/// Every name that a `use` brings into scope (`*` for all of a module), with its whole path.
fn leaves(tree: &syn::UseTree) -> Vec<(String, Vec<String>)> {
    let below = |first: String, tree: &syn::UseTree| {
        leaves(tree).into_iter().map(move |(name, rest)| {
            // `a::{self}` is `a`.
            let is_self = rest == ["self"];
            let name = if is_self && name == "self" { first.clone() } else { name };
            let rest = if is_self { Vec::new() } else { rest };
            (name, std::iter::once(first.clone()).chain(rest).collect())
        })
    };
    match tree {
        syn::UseTree::Path(path) => below(path.ident.to_string(), &path.tree).collect(),
        syn::UseTree::Name(name) => vec![(name.ident.to_string(), vec![name.ident.to_string()])],
        syn::UseTree::Rename(name) => vec![(name.rename.to_string(), vec![name.ident.to_string()])],
        syn::UseTree::Glob(_) => vec![("*".to_owned(), vec!["*".to_owned()])],
        syn::UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

fn is_for_tests(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

/// The module that defines what `path` names as seen from `module`, and the name of the item in it. `None` is a path of
/// another crate, a local name or a type of the prelude.
fn resolve(modules: &Modules, module: &str, path: &[String], depth: usize) -> Option<(String, String)> {
    // A re-export that leads back to itself would not compile; the limit ends the search of names that are no paths.
    if depth > 16 {
        return None;
    }
    let (first, rest) = path.split_first()?;
    let root = module.split("::").next().expect("a path has a first segment");
    let mut at = match first.as_str() {
        "crate" => root.to_owned(),
        "self" => module.to_owned(),
        "super" => modules[module].parent.clone()?,
        LIBRARY => LIBRARY.to_owned(),
        _ => return member(modules, module, path, depth),
    };
    let mut rest = rest;
    while let Some((next, others)) = rest.split_first().filter(|(next, _)| *next == "super") {
        debug_assert_eq!(next, "super");
        at = modules[&at].parent.clone()?;
        rest = others;
    }
    if rest.is_empty() { Some((at, "self".to_owned())) } else { member(modules, &at, rest, depth) }
}

/// What `path` names inside of a module: a submodule, a re-export, or an item of its own.
fn member(modules: &Modules, module: &str, path: &[String], depth: usize) -> Option<(String, String)> {
    let (first, rest) = path.split_first()?;
    let about = &modules[module];
    if about.children.contains(first) {
        let child = format!("{module}::{first}");
        return if rest.is_empty() {
            Some((child, "self".to_owned()))
        } else {
            member(modules, &child, rest, depth + 1)
        };
    }
    if first == "*" || defines(about, first) {
        return Some((module.to_owned(), first.clone()));
    }
    if let Some(target) = about.names.get(first) {
        // `use serde_json;` names itself.
        if target.first() == Some(first) {
            return None;
        }
        let whole: Vec<_> = target.iter().chain(rest).cloned().collect();
        return resolve(modules, module, &whole, depth + 1);
    }
    about.globs.iter().find_map(|glob| {
        let (_, prefix) = glob.split_last()?;
        let whole: Vec<_> = prefix.iter().chain(path).cloned().collect();
        resolve(modules, module, &whole, depth + 1)
    })
}

fn defines(module: &Module, name: &str) -> bool {
    module.items.iter().any(|item| match item {
        syn::Item::Const(item) => item.ident == name,
        syn::Item::Enum(item) => item.ident == name,
        syn::Item::Fn(item) => item.sig.ident == name,
        syn::Item::Macro(item) => item.ident.as_ref().is_some_and(|ident| ident == name),
        syn::Item::Mod(item) => item.content.is_some() && item.ident == name,
        syn::Item::Static(item) => item.ident == name,
        syn::Item::Struct(item) => item.ident == name,
        syn::Item::Trait(item) => item.ident == name,
        syn::Item::Type(item) => item.ident == name,
        syn::Item::Union(item) => item.ident == name,
        _ => false,
    })
}

/// Collects the modules that the paths of one module lead to.
struct Finder<'m> {
    modules: &'m Modules,
    module: &'m str,
    found: BTreeSet<(String, String)>,
    /// Paths of other crates, with the names of `use` replaced by what they stand for.
    external: BTreeSet<String>,
}

impl Finder<'_> {
    fn note(&mut self, path: &[String], is_reexport: bool) {
        let Some((target, name)) = resolve(self.modules, self.module, path, 0) else {
            let of_use = path.first().and_then(|first| self.modules[self.module].names.get(first));
            let whole = of_use.into_iter().flatten().chain(path.iter().skip(usize::from(of_use.is_some())));
            self.external.insert(whole.cloned().collect::<Vec<_>>().join("::"));
            return;
        };
        let is_below = target.starts_with(&format!("{}::", self.module));
        // A `mod.rs` that offers the items of its submodules does not use them.
        if !(is_reexport && is_below) {
            self.found.insert((target, name));
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(item) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_reexport = !matches!(item.vis, syn::Visibility::Inherited);
        leaves(&item.tree).iter().for_each(|(_, path)| self.note(path, is_reexport));
    }

    // `pub(in crate::boundary)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note(&segments, false);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        let text = call.tokens.to_string();
        // Tokens are separated by spaces: `crate :: causes :: chain`.
        let words: Vec<_> =
            text.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).filter(|word| !word.is_empty()).collect();
        let mut path: Vec<String> = Vec::new();
        let mut expects_name = true;
        for word in words.into_iter().chain([""]) {
            match word {
                "::" if !path.is_empty() && !expects_name => expects_name = true,
                name if expects_name && !name.contains(':') && !name.is_empty() => {
                    path.push(name.to_owned());
                    expects_name = false;
                }
                other => {
                    if path.len() > 1 {
                        self.note(&path, false);
                    }
                    path.clear();
                    expects_name = true;
                    if !other.is_empty() && !other.contains(':') {
                        path.push(other.to_owned());
                        expects_name = false;
                    }
                }
            }
        }
    }
}

/// The import cycles: sets of two or more files, each of which reaches each other one.
pub(super) fn cycles(imports: &Imports) -> Vec<BTreeSet<String>> {
    let reach = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start.to_owned()];
        while let Some(file) = open.pop() {
            for target in imports.get(&file).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(target.clone()) {
                    open.push(target.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|file| (file.clone(), reach(file))).collect();
    let mut cycles: Vec<BTreeSet<String>> = Vec::new();
    for (file, seen) in reached.iter().filter(|(file, seen)| seen.contains(*file)) {
        if !cycles.iter().any(|cycle| cycle.contains(file)) {
            cycles.push(seen.iter().filter(|other| reached[*other].contains(file)).cloned().collect());
        }
    }
    cycles
}
