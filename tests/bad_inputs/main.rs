//! Named bad inputs, one table for each boundary, each with its exact error. None panics or hangs;
//! each ends within its deadline, with little memory, and leaves no process, file, descriptor or
//! thread.

#![cfg(test)]

mod arguments;
mod bootstrap;
mod case;
mod far_ends;
mod namespaces;
mod run;
mod secrets;
mod ssh_config;
mod to_servers;

use std::collections::BTreeSet;

/// The names in all tables.
#[test]
fn there_are_at_least_150_of_them() {
    let tables: [(&str, Vec<&str>); 7] = [
        ("clients' bytes", to_servers::names()),
        ("far ends' bytes", far_ends::names()),
        ("bootstrap", bootstrap::CASES.iter().map(|case| case.name).collect()),
        ("ssh configuration", ssh_config::names()),
        ("arguments", arguments::CASES.iter().map(|case| case.name).collect()),
        ("namespaces", namespaces::CASES.iter().map(|case| case.name).collect()),
        ("secrets", secrets::CASES.iter().map(|case| case.name).collect()),
    ];
    let mut all = 0;
    for (table, names) in &tables {
        let different = names.iter().collect::<BTreeSet<_>>().len();
        assert_eq!(different, names.len(), "{table}: two inputs have one name");
        println!("{table}: {different}");
        all += different;
    }
    assert!(all >= 150, "{all} bad inputs only");
}
