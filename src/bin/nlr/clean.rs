//! `nlr clean`.

use super::{
    args::{CleanArgs, ConnectionArgs},
    failure::{Failure, one_line},
    output,
    session::Session,
};

/// Removes the stubs at the far end, and prints what was removed.
pub(super) fn run(connection: &ConnectionArgs, args: &CleanArgs) -> Result<(), Failure> {
    let removed = Session::clean(connection, &args.target)?;
    let mut text = String::new();
    if args.json {
        text = serde_json::Value::from(removed).to_string();
        text.push('\n');
    } else {
        for path in removed {
            text.push_str(&one_line(&path));
            text.push('\n');
        }
    }
    output::print(text.as_bytes())
}
