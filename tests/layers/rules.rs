//! The rules, checked on any crate. Each check gives a message for each breach.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Arrow, Crate, ModulePath, name};

/// A module at the root, and the modules beside it that it may use.
pub(crate) type Row = (&'static str, &'static [&'static [&'static str]]);

/// Checks the arrows between modules at the root against a table, whose rows use only rows above.
pub(crate) fn check_layers(tree: &Crate, table: &[Row]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (index, (module, allowed)) in table.iter().enumerate() {
        let above = |used: &str| table[..index].iter().any(|(above, _)| *above == used);
        for used in allowed.concat().into_iter().filter(|used| !above(used)) {
            breaches.push(format!("the table lets {module} use {used}, which is no row above it"));
        }
        if !tree.modules.contains_key(&vec![(*module).to_owned()]) {
            breaches.push(format!("the table has a row for {module}, which is no module"));
        }
    }
    for module in tree.modules.keys().filter(|module| module.len() == 1) {
        if !table.iter().any(|(known, _)| module[0] == *known) {
            breaches.push(format!("the module {} has no row in the table", module[0]));
        }
    }
    for arrow in tree.arrows() {
        let Some(from) = arrow.from.first() else { continue };
        let Some((_, allowed)) = table.iter().find(|(known, _)| known == from) else { continue };
        let is_allowed = |to: &ModulePath| {
            to.first().is_some_and(|to| to == from || allowed.concat().contains(&to.as_str()))
        };
        // A re-export counts twice: as the module that has it, and as the one it leads to. The
        // root's count as the latter alone: the root has them for everybody.
        let through = arrow.through.is_empty() || is_allowed(&arrow.through);
        if !through || !is_allowed(&arrow.to) {
            breaches.push(format!("not in the table: {arrow}"));
        }
    }
    breaches
}

/// Checks that the children of each module, files and folders, use each other in no circle.
pub(crate) fn check_circles(tree: &Crate) -> Vec<String> {
    let arrows = tree.arrows();
    tree.modules.keys().filter_map(|parent| circle(parent, &arrows)).collect()
}

fn circle(parent: &ModulePath, arrows: &[Arrow]) -> Option<String> {
    let mut edges: BTreeMap<&str, BTreeMap<&str, Vec<&Arrow>>> = BTreeMap::new();
    for arrow in arrows {
        if let (Some([from, ..]), Some([to, ..])) =
            (arrow.from.strip_prefix(&parent[..]), arrow.to.strip_prefix(&parent[..]))
            && from != to
        {
            edges.entry(from).or_default().entry(to).or_default().push(arrow);
        }
    }
    let reached = |start: &str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(child) = next.pop() {
            for to in edges.get(child).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(*to) {
                    next.push(to);
                }
            }
        }
        reached
    };
    let reach: BTreeMap<_, _> = edges.keys().map(|child| (*child, reached(child))).collect();
    let leads_to = |from: &str, to: &str| reach.get(from).is_some_and(|reach| reach.contains(to));
    let members: Vec<_> = edges.keys().filter(|child| leads_to(child, child)).copied().collect();
    if members.is_empty() {
        return None;
    }
    let mut text = format!("in {}, a circle of {}:", name(parent), members.join(", "));
    for (from, to, arrows) in
        edges.iter().flat_map(|(from, to)| to.iter().map(move |(to, arrows)| (from, to, arrows)))
    {
        if leads_to(to, from) {
            text += &format!("\n    {}", arrows[0]);
            if arrows.len() > 1 {
                text += &format!(" (and {} more)", arrows.len() - 1);
            }
        }
    }
    Some(text)
}
