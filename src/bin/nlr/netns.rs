//! `nlr netns`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    connection::ConnectionArgs,
    failure::Failure,
    json,
    output::Output,
    session,
    show::kernel_name,
    table::{Cell, Table},
};
use netlink_remote::{Client, Target, client::NetnsEntry};

const EXAMPLES: &str = "\
The names are those of ip-netns(8): `ip netns` and `nlr netns` see each other's namespaces.

Examples:
  nlr netns list
  nlr netns add blue
  nlr netns del blue unix:/run/nlr.sock";

/// Lists, creates and deletes named network namespaces
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) enum NetnsCommand {
    /// Lists the named namespaces, each with its inode number, which identifies it
    #[command(after_help = "Example:\n  nlr netns list --json | jq -r '.[].name'")]
    List(ListArgs),
    /// Creates a namespace
    #[command(after_help = "Example:\n  nlr netns add blue")]
    Add(NameArgs),
    /// Deletes a name; its namespace exists for as long as anything uses it
    #[command(visible_alias = "delete", after_help = "Example:\n  nlr netns del blue")]
    Del(NameArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// A JSON array of objects with `name` and `inode`
    #[arg(long, short)]
    json: bool,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Name of the namespace
    name: String,
    /// Target, as `nlr --help` describes
    #[arg(default_value = "local:")]
    target: Target,
}

pub(crate) fn run(connection: &ConnectionArgs, command: &NetnsCommand) -> Result<(), Failure> {
    match command {
        NetnsCommand::List(args) => session::run(connection, &args.target, async |session| {
            list(&session.client, args.json).await
        }),
        NetnsCommand::Add(args) => session::run(connection, &args.target, async |session| {
            Ok(session.client.netns().add(&args.name).await?)
        }),
        NetnsCommand::Del(args) => session::run(connection, &args.target, async |session| {
            Ok(session.client.netns().delete(&args.name).await?)
        }),
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let entries = client.netns().list().await?;
    let text = if json { list_as_json(&entries) } else { list_as_text(&entries) };
    let mut output = Output::new()?;
    output.write(text.into_bytes()).await?;
    output.finish().await
}

fn list_as_json(entries: &[NetnsEntry]) -> String {
    let object = |entry: &NetnsEntry| json!({ "name": name(entry), "inode": inode(entry) });
    let items: Vec<_> = entries.iter().map(|entry| json::text(&object(entry))).collect();
    format!("[{}]\n", items.join(",\n"))
}

fn list_as_text(entries: &[NetnsEntry]) -> String {
    let mut table = Table::new(Vec::new(), &["NAME", "INODE"], false);
    for entry in entries {
        let inode = match inode(entry) {
            Value::Null => "not a namespace".to_owned(),
            inode => inode.to_string(),
        };
        // Writing to memory does not fail.
        let _ = table.row(vec![Cell::plain(name(entry)), Cell::plain(inode)]);
    }
    let _ = table.finish();
    String::from_utf8(std::mem::take(table.out())).unwrap_or_default()
}

/// The name; as invalid one that no file can have.
fn name(entry: &NetnsEntry) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    kernel_name::cut(entry.name.as_bytes(), kernel_name::FILE, text)
}

/// The inode number; null for a file that is no namespace.
fn inode(entry: &NetnsEntry) -> Value {
    match entry.id.inode {
        0 => Value::Null,
        inode => inode.into(),
    }
}
